// Package config reads config/*.yaml and the environment once, into one typed value. The values are
// checked there, and an error names the key together with the file or variable that set it.
//
//	cfg, err := config.Load("config", os.Environ())
//
// A Config is a plain value: concurrent reading is safe.
package config

import "time"

// Config is the whole configuration.
type Config struct {
	App   App
	Cache Cache
	DB    DB

	files   []string // names of the files that set something: app, cache, db
	foreign []string // variables of Kubernetes that look like settings
}

// App is config/app.yaml.
type App struct {
	Outside Listen
	Manager struct {
		Host  string
		Port  int
		Token string `secret:"true"`
	}
	Push struct {
		Host        string
		Port        int
		Tokens      []string `secret:"true"`
		RequestRate int      `mapstructure:"request_rate"`
		MaxBody     int      `mapstructure:"max_body"`
		KeptBytes   int      `mapstructure:"kept_bytes"`
		OnlineCount bool     `mapstructure:"online_count"`
	}
	Auth struct {
		Check       bool
		Key         string   `secret:"true"`
		PreviousKey string   `mapstructure:"previous_key" secret:"true"`
		Accept3DES  bool     `mapstructure:"accept_3des"`
		Key3DES     string   `mapstructure:"key_3des" secret:"true"`
		Types3DES   []string `mapstructure:"types_3des"`
		Lifetime    time.Duration
		Skew        time.Duration
	}
	Gateway  Gateway
	SocketIO SocketIO
	Protocol struct {
		Compat     string
		ReceiveAck bool `mapstructure:"receive_ack"`
		EscapeHTML bool `mapstructure:"escape_html"`
	}
	Users struct {
		SecondLogin string   `mapstructure:"second_login"`
		UIDTypes    []string `mapstructure:"uid_types"`
	}
	Cluster struct {
		Isolated   string
		Substreams int
	}
	History   struct{ Rooms []string }
	Presence  struct{ Rooms []string }
	Heartbeat struct {
		Ping  time.Duration
		Idle  time.Duration
		Texts []string
	}
	Limits      Limits
	Compression struct {
		Enabled bool
	}
	Origins        []string
	AllowNoOrigin  bool     `mapstructure:"allow_no_origin"`
	TrustedProxies []string `mapstructure:"trusted_proxies"`
	TrustedHeader  string   `mapstructure:"trusted_header"`
	Demo           bool
	Runtime        struct{ Dir string }
	Log            struct {
		Level     string
		MaxSizeMB int `mapstructure:"max_size_mb"`
		MaxDays   int `mapstructure:"max_days"`
		MaxFiles  int `mapstructure:"max_files"`
	}
}

// Listen is the address of a port.
type Listen struct {
	Host string
	Port int
}

// Limits bound what one client may cost. config/app.yaml describes the effect of each limit.
type Limits struct {
	HandshakeTimeout       time.Duration `mapstructure:"handshake_timeout"`
	HandshakeBytes         int           `mapstructure:"handshake_bytes"`
	MessageBytes           int           `mapstructure:"message_bytes"`
	Fragments              int
	MessageTime            time.Duration `mapstructure:"message_time"`
	JSONDepth              int           `mapstructure:"json_depth"`
	MessageRate            int           `mapstructure:"message_rate"`
	MessageBurst           int           `mapstructure:"message_burst"`
	OutboxBytes            int           `mapstructure:"outbox_bytes"`
	OutboxMessages         int           `mapstructure:"outbox_messages"`
	WriteTimeout           time.Duration `mapstructure:"write_timeout"`
	RefusedRate            int           `mapstructure:"refused_rate"`
	MaxConnections         int           `mapstructure:"max_connections"`
	ConnectionsPerIP       int           `mapstructure:"connections_per_ip"`
	RoomsPerConnection     int           `mapstructure:"rooms_per_connection"`
	CloseKeysPerConnection int           `mapstructure:"close_keys_per_connection"`
	RoomFlush              time.Duration `mapstructure:"room_flush"`
	StopGrace              time.Duration `mapstructure:"stop_grace"`
	ReloadDrain            time.Duration `mapstructure:"reload_drain"`
	StreamDrain            time.Duration `mapstructure:"stream_drain"`
	BootTimeout            time.Duration `mapstructure:"boot_timeout"`
	WorkerHang             time.Duration `mapstructure:"worker_hang"`
}

// Cache is config/cache.yaml.
type Cache struct {
	Master struct {
		Driver         string
		Addrs          []string
		Username       string
		Password       string `secret:"true"`
		DB             int
		Prefix         string
		SentinelMaster string `mapstructure:"sentinel_master"`
		TLS            bool   `mapstructure:"tls"`
		TLSCA          string `mapstructure:"tls_ca"`
		TLSCert        string `mapstructure:"tls_cert"`
		TLSKey         string `mapstructure:"tls_key"`
		TLSServerName  string `mapstructure:"tls_server_name"`
		TLSSkipVerify  bool   `mapstructure:"tls_skip_verify"`
		Timeout        time.Duration
		Strict         bool
		Save           time.Duration
	}
}

// DB is config/db.yaml.
type DB struct {
	Master struct {
		Driver  string
		DSN     string `secret:"true"`
		MaxOpen int    `mapstructure:"max_open"`
		Timeout time.Duration
	}
}

func defaults() *Config {
	c := &Config{}
	a := &c.App
	a.Outside = Listen{"127.0.0.1", 20000}
	a.Manager.Host, a.Manager.Port = "127.0.0.1", 20001
	a.Push.Host, a.Push.Port, a.Push.RequestRate, a.Push.MaxBody, a.Push.KeptBytes = "127.0.0.1", 2121, 1000, 1<<20, 64<<20
	a.Gateway = defaultGateway()
	a.SocketIO = defaultSocketIO()
	a.Users.SecondLogin, a.Users.UIDTypes = "allow", []string{"wechatUser"}
	a.Auth.Types3DES = []string{"wechatUser"}
	a.Cluster.Isolated, a.Cluster.Substreams = "close", 64
	a.Auth.Check, a.Auth.Lifetime, a.Auth.Skew = true, 24*time.Hour, 30*time.Second
	a.Heartbeat.Ping, a.Heartbeat.Idle = 25*time.Second, 60*time.Second
	a.Limits = Limits{
		HandshakeTimeout: 5 * time.Second, HandshakeBytes: 8192,
		MessageBytes: 65536, Fragments: 1024, MessageTime: 10 * time.Second, JSONDepth: 32,
		MessageRate: 100, MessageBurst: 200,
		OutboxBytes: 1 << 20, OutboxMessages: 1024, WriteTimeout: 5 * time.Second,
		RefusedRate: 20, MaxConnections: 100_000,
		RoomsPerConnection: 256, CloseKeysPerConnection: 256, RoomFlush: 5 * time.Millisecond,
		StopGrace: 30 * time.Second, ReloadDrain: 30 * time.Second, StreamDrain: 10 * time.Minute, BootTimeout: 30 * time.Second, WorkerHang: 30 * time.Second,
	}
	a.AllowNoOrigin, a.Demo = true, true
	a.TrustedHeader = "X-Real-IP"
	a.Runtime.Dir = "runtime"
	a.Log.Level, a.Log.MaxSizeMB, a.Log.MaxDays, a.Log.MaxFiles = "info", 100, 14, 60
	m := &c.Cache.Master
	m.Driver, m.Addrs, m.Timeout, m.Save = "embedded", []string{"127.0.0.1:6379"}, 500*time.Millisecond, time.Second
	d := &c.DB.Master
	d.Driver, d.MaxOpen, d.Timeout = "sqlite", 32, 5*time.Second
	return c
}
