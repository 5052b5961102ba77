package db

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"gorm.io/gorm"
)

// envTally names a database; with it, this test binary is a worker that counts in that database.
const envTally = "WSFRAME_TEST_TALLY"

type tally struct {
	ID int
	N  int
}

const tallies = 300

func count(g *gorm.DB) error {
	for range tallies {
		err := g.Transaction(func(tx *gorm.DB) error {
			var one tally
			if err := tx.First(&one, 1).Error; err != nil {
				return err
			}
			return tx.Model(&one).Update("n", one.N+1).Error
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Two workers can share a file during a reload: no statement fails, and no write is lost.
func TestTwoWorkers(t *testing.T) {
	if file := os.Getenv(envTally); file != "" {
		g, err := Open(t.Context(), Options{Driver: "sqlite", DSN: file})
		if err != nil {
			t.Fatal(err)
		}
		defer Close(g)
		if err := g.AutoMigrate(&tally{}); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("ready\n")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		if err := count(g); err != nil {
			t.Fatal(err)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "shared.db")
	g, err := Open(t.Context(), Options{Driver: "sqlite", DSN: file})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(g)
	if err := g.AutoMigrate(&tally{}); err != nil {
		t.Fatal(err)
	}
	if err := g.Create(&tally{ID: 1}).Error; err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestTwoWorkers$", "-test.v")
	cmd.Env = append(os.Environ(), envTally+"="+file)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, text := bufio.NewScanner(out), ""
	for said.Scan() && said.Text() != "ready" {
		text += said.Text() + "\n"
	}
	_, _ = in.Write([]byte("go\n")) // an error shows in the end of the process
	if err := count(g); err != nil {
		t.Error(err)
	}
	for said.Scan() {
		text += said.Text() + "\n"
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var one tally
	if err := g.First(&one, 1).Error; err != nil || one.N != 2*tallies {
		t.Errorf("%s of %s: %v", strconv.Itoa(one.N), strconv.Itoa(2*tallies), err)
	}
}
