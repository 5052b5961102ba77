package console

import (
	"fmt"
	"io"
	"strings"
)

const completionHelp = `bash:  source <(console completion bash)      # in ~/.bashrc
zsh:   source <(console completion zsh)       # in ~/.zshrc, behind compinit
fish:  console completion fish | source       # in ~/.config/fish/config.fish`

// complete prints the script of a shell.
func (l *commands) complete(o *options) error {
	scripts := map[string]func(io.Writer){"bash": l.bash, "zsh": l.zsh, "fish": l.fish}
	script := scripts[o.word()]
	switch {
	case o.word() == "":
		return fmt.Errorf("for which shell? console completion bash, zsh or fish")
	case script == nil:
		return fmt.Errorf("there is no completion for %q; there is one for bash, zsh and fish", o.word())
	}
	script(l.out)
	return nil
}

// options returns the flags of a command with their dashes.
func (c *command) options() (list []string) {
	for _, name := range c.allFlags() {
		list = append(list, "-"+name)
	}
	return list
}

func (l *commands) bash(w io.Writer) {
	fmt.Fprintf(w, `_console() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -*) ;;
      *) command=${COMP_WORDS[i]}; break ;;
    esac
  done
  if [[ -z $command ]]; then
    COMPREPLY=($(compgen -W %q -- "$cur"))
    return
  fi
  case $command in
    help) COMPREPLY=($(compgen -W %[1]q -- "$cur")) ;;
    completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$cur")) ;;
`, strings.Join(l.names(), " "))
	for _, c := range l.all() {
		if c.name != "help" && c.name != "completion" {
			fmt.Fprintf(w, "    %s) [[ $cur == -* ]] && COMPREPLY=($(compgen -W %q -- \"$cur\")) ;;\n", c.name, strings.Join(c.options(), " "))
		}
	}
	fmt.Fprint(w, "  esac\n}\ncomplete -o default -F _console console ./console\n")
}

func (l *commands) zsh(w io.Writer) {
	fmt.Fprint(w, "#compdef console\n_console() {\n  local -a commands=(\n")
	for _, c := range l.all() {
		fmt.Fprintf(w, "    %s\n", quote(c.name+":"+c.text))
	}
	fmt.Fprint(w, `  )
  local command=${words[2]}
  [[ $command == -s ]] && command=${words[3]}
  if (( CURRENT == 2 )) || [[ ${words[CURRENT-1]} == (-s|help) ]]; then
    _describe command commands
    return
  fi
  case $command in
    completion) compadd bash zsh fish ;;
`)
	for _, c := range l.all() {
		if c.name != "completion" {
			fmt.Fprintf(w, "    %s) compadd -- %s; _files ;;\n", c.name, strings.Join(c.options(), " "))
		}
	}
	fmt.Fprint(w, "  esac\n}\ncompdef _console console ./console\n")
}

func (l *commands) fish(w io.Writer) {
	for _, c := range l.all() {
		fmt.Fprintf(w, "complete -c console -n __fish_use_subcommand -f -a %s -d %s\n", c.name, quote(c.text))
		for _, name := range c.allFlags() {
			fmt.Fprintf(w, "complete -c console -n '__fish_seen_subcommand_from %s' -o %s\n", c.name, name)
		}
	}
	fmt.Fprint(w, "complete -c console -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n")
}

// quote quotes a text for a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
