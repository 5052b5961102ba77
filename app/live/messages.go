package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"wsframe/framework"
)

// Message is a row of live_wall_message. Times are UNIX seconds.
type Message struct {
	ID         int64  `json:"id" gorm:"primaryKey;autoIncrement;index:live_wall_message_code,priority:3"`
	Code       string `json:"code" gorm:"size:64;not null;index:live_wall_message_code,priority:1"`
	Nickname   string `json:"nickname" gorm:"size:128;not null"`
	Say        string `json:"say" gorm:"size:4096;not null"`
	UserID     string `json:"user_id" gorm:"size:64;not null"`
	Status     int    `json:"status" gorm:"not null;index:live_wall_message_code,priority:2"` // shown or recalled
	CreateTime int64  `json:"create_time" gorm:"not null"`
	UpdateTime int64  `json:"update_time" gorm:"not null"`
}

const (
	recalled = 0
	shown    = 1
)

// TableName returns the name that MSwoole-ws uses.
func (Message) TableName() string { return "live_wall_message" }

// queryTimeout ends a query if the database does not answer, because the client waits for it.
const queryTimeout = 5 * time.Second

// Messages is the table of the walls' messages. It is safe for concurrent use.
type Messages struct{ db *gorm.DB }

// NewMessages returns the table. Call Migrate before the other methods.
func NewMessages(db *gorm.DB) *Messages { return &Messages{db} }

// Migrate creates the table, or adds missing columns and indexes.
func (m *Messages) Migrate(ctx context.Context) error {
	if err := m.db.WithContext(ctx).AutoMigrate(&Message{}); err != nil {
		return fmt.Errorf("make the table live_wall_message: %w", err)
	}
	return nil
}

// Create adds a shown message.
func (m *Messages) Create(ctx context.Context, by framework.Identity, say string) (*Message, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	now := time.Now().Unix()
	row := &Message{Code: by.Code, Nickname: by.Nickname, Say: say, UserID: by.ID, Status: shown, CreateTime: now, UpdateTime: now}
	return row, m.db.WithContext(ctx).Create(row).Error
}

// errNotFound says that the room shows no such message.
var errNotFound = errors.New("no such message in this room")

// Recall hides a message of that room.
func (m *Messages) Recall(ctx context.Context, code string, id int64) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	r := m.db.WithContext(ctx).Model(&Message{}).Where("id = ? AND code = ? AND status = ?", id, code, shown).
		Updates(map[string]any{"status": recalled, "update_time": time.Now().Unix()})
	if r.Error == nil && r.RowsAffected == 0 {
		return errNotFound
	}
	return r.Error
}

// Shown returns a page of a room's messages that were not recalled, newest first.
func (m *Messages) Shown(ctx context.Context, code string, offset, limit int) ([]Message, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var rows []Message
	err := m.db.WithContext(ctx).Where("code = ? AND status = ?", code, shown).Order("id DESC").Offset(offset).Limit(limit).Find(&rows).Error
	return rows, err
}
