<?php
/**
 * Pushes to clients of wsframe and queries who is online, from PHP 7.2 or newer. This single file
 * needs only PHP's own HTTP streams (allow_url_fopen, which is on by default). For all calls,
 * fields and errors, see docs/push.md.
 *
 *   require 'Wsframe.php';
 *   $ws = new Wsframe('http://127.0.0.1:2121', getenv('WSFRAME_PUSH_TOKEN'));  // '' if no token is configured
 *   $ws->sendToUID('7', 'orderPaid', ['id' => 5]);           // clients receive {"status":200,"event":"orderPaid","info":"","param":{"id":5}}
 *   $ws->sendToRoom('LIVE_5', 'barrage', 'hi', ['class' => 'drop-oldest']);
 *   $ws->sendToAll('notice', 'Closing at ten', ['info' => 'notice', 'except' => [$fd]]);
 *   if ($ws->reach('7', 'call', 'ring') === 0) { … }         // how many connections accepted it
 *   $ws->once('order-5-paid')->sendToUID('7', 'orderPaid');  // once in ten minutes, however often it runs
 *   foreach ($ws->batch([['join', ['fd' => 5, 'room' => 'A']], ['counts']]) as $answer) { … }
 *   $ws->newMsg('7', 'text');                                // as with web-msg-sender: 'ok', 'offline' or 'fail'
 *
 * A refused call throws a RuntimeException. Its message begins with the error code ("noConnection:
 * …"), and getCode() is the HTTP status; 0 means that there was no response. A call that was
 * certainly not done, or received no response, is repeated, up to three attempts in total, always
 * with the same Idempotency-Key, so it is done at most once.
 *
 * ---- 中文 ----
 *
 * 从 PHP（7.2 及以上）向 wsframe 的客户端推送消息，并查询在线情况。单文件，只用 PHP 自带的 HTTP 流
 * （allow_url_fopen，默认开启）。全部方法、字段与错误码见 docs/push.zh-CN.md，用法见上例：
 *   sendToUID 发给某个用户的所有连接；sendToFD 发给一个连接；sendToRoom 发给房间；sendToAll 发给所有人；
 *   reach 同 sendToUID，并返回接收了推送的连接数；once('键') 使同一操作在十分钟内只执行一次；batch 一次执行多个调用；
 *   newMsg 与 web-msg-sender 相同，返回 'ok'、'offline' 或 'fail'。
 * 服务器拒绝时抛出 RuntimeException：信息以错误码开头（"noConnection: …"），getCode() 为 HTTP 状态码，0 表示没有收到响应。
 * 确定没有执行、或没有收到响应的调用，会用同一个 Idempotency-Key 重试，总共最多三次，因此最多只执行一次。
 */
class Wsframe
{
    private const TRIES = 3;

    private $base;
    private $token;
    private $timeout;
    private $key;

    /** Creates a client. $timeout is the time limit of one attempt in seconds. */
    public function __construct(string $base = 'http://127.0.0.1:2121', string $token = '', float $timeout = 10.0)
    {
        $this->base = rtrim($base, '/');
        $this->token = $token;
        $this->timeout = $timeout;
    }

    /**
     * Returns a client for one call, which runs once in ten minutes for this key (1 to 128
     * printable ASCII characters).
     */
    public function once(string $key): self
    {
        $copy = clone $this;
        $copy->key = $key;
        return $copy;
    }

    /** Makes any call of the JSON API, and returns its result as an array. */
    public function call(string $method, array $params = []): array
    {
        $body = json_encode((object) $params, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_PRESERVE_ZERO_FRACTION);
        if ($body === false) {
            throw new InvalidArgumentException("$method: " . json_last_error_msg());
        }
        $headers = ['Content-Type: application/json', 'Idempotency-Key: ' . ($this->key ?? bin2hex(random_bytes(16)))];
        for ($try = 1; ; $try++) {
            list($status, $text) = $this->post('/api/v1/' . rawurlencode($method), $body, $headers);
            $answer = json_decode($text, true);
            $error = is_array($answer) ? ($answer['error'] ?? null) : ['code' => 'noAnswer', 'message' => $status ? "HTTP $status, but no JSON" : $text];
            if ($error === null) {
                return $answer['result'] ?? [];
            }
            if ($try === self::TRIES || !in_array($status, [0, 409, 429, 503], true) || in_array($error['code'], ['limitReached', 'outcomeUnknown'], true)) {
                throw new RuntimeException($error['code'] . ': ' . $error['message'], $status);
            }
            usleep(200000 * $try);
        }
    }

    /**
     * Makes up to 100 calls, [['method', [params]], …], one after the other in one request. The
     * results have the same order, each ['result' => …] or ['error' => ['code' => …, 'message' =>
     * …]]. A failed call does not stop the others.
     */
    public function batch(array $calls): array
    {
        $list = [];
        foreach ($calls as $call) {
            $list[] = ['method' => $call[0], 'params' => (object) ($call[1] ?? [])];
        }
        return $this->call('batch', ['calls' => $list])['results'];
    }

    /**
     * Sends $content by web-msg-sender's form to one user, or to all if $uid is ''. The server
     * escapes HTML. There is no retry.
     */
    public function newMsg(string $uid, string $content): string
    {
        $form = http_build_query(['type' => 'publish', 'to' => $uid, 'content' => $content], '', '&');
        list($status, $text) = $this->post('/', $form, ['Content-Type: application/x-www-form-urlencoded']);
        return $status === 0 ? 'fail' : $text;
    }

    // Pushes. $param is any value for json_encode; null means none. $more may have info, status,
    // except, class and key, and for rooms also keep and age_seconds.

    public function sendToFD(int $fd, string $event, $param = null, array $more = []): void
    {
        $this->call('sendToFD', ['fd' => $fd] + self::push($event, $param, $more));
    }

    public function sendToUID(string $uid, string $event, $param = null, array $more = []): void
    {
        $this->call('sendToUID', ['uid' => $uid] + self::push($event, $param, $more));
    }

    public function sendToRoom(string $room, string $event, $param = null, array $more = []): void
    {
        $this->call('sendToRoom', ['room' => $room] + self::push($event, $param, $more));
    }

    /** The same as sendToRoom. */
    public function publish(string $room, string $event, $param = null, array $more = []): void
    {
        $this->sendToRoom($room, $event, $param, $more);
    }

    public function sendToAll(string $event, $param = null, array $more = []): void
    {
        $this->call('sendToAll', self::push($event, $param, $more));
    }

    /** $targets has lists: 'fds', 'uids' and 'rooms', each of at most 1,000. */
    public function sendToMany(array $targets, string $event, $param = null, array $more = []): void
    {
        $this->call('sendToMany', $targets + self::push($event, $param, $more));
    }

    /** Sends like sendToUID, and returns how many connections accepted the push. */
    public function reach(string $uid, string $event, $param = null, array $more = []): int
    {
        return $this->call('reach', ['uid' => $uid] + self::push($event, $param, $more))['connections'];
    }

    // Rooms, users, connections.

    /**
     * Puts a connection into a room. With $announce, the members are notified when users join or
     * leave.
     */
    public function join(int $fd, string $room, bool $announce = false): void
    {
        $this->call('join', ['fd' => $fd, 'room' => $room, 'announce' => $announce]);
    }

    public function leave(int $fd, string $room): void
    {
        $this->call('leave', ['fd' => $fd, 'room' => $room]);
    }

    public function leaveAll(int $fd): void
    {
        $this->call('leaveAll', ['fd' => $fd]);
    }

    /** Removes all members from a room, and returns their number. */
    public function dismissRoom(string $room): int
    {
        return $this->call('dismissRoom', ['room' => $room])['members'];
    }

    /** Puts all connections of a user into a room, and returns their number. */
    public function joinUID(string $uid, string $room, bool $announce = false): int
    {
        return $this->call('joinUID', ['uid' => $uid, 'room' => $room, 'announce' => $announce])['connections'];
    }

    /** Takes all connections of a user out of a room, and returns their number. */
    public function leaveUID(string $uid, string $room): int
    {
        return $this->call('leaveUID', ['uid' => $uid, 'room' => $room])['connections'];
    }

    public function bindUID(int $fd, string $uid): void
    {
        $this->call('bindUID', ['fd' => $fd, 'uid' => $uid]);
    }

    public function unbindUID(int $fd, string $uid): void
    {
        $this->call('unbindUID', ['fd' => $fd, 'uid' => $uid]);
    }

    /**
     * Closes a connection after it has received everything sent before. $code is 1000 or 3000-4999.
     */
    public function kick(int $fd, int $code = 4011, string $reason = ''): void
    {
        $this->call('kick', ['fd' => $fd, 'code' => $code, 'reason' => $reason]);
    }

    /** Closes all connections of a user, and returns their number. */
    public function kickUID(string $uid, int $code = 4011, string $reason = ''): int
    {
        return $this->call('kickUID', ['uid' => $uid, 'code' => $code, 'reason' => $reason])['connections'];
    }

    /** Returns the values stored with a connection, by name. */
    public function session(int $fd): array
    {
        return $this->call('session', ['fd' => $fd])['values'];
    }

    public function setSession(int $fd, array $values): void
    {
        $this->call('setSession', ['fd' => $fd, 'values' => (object) $values]);
    }

    /** Merges values into the stored ones; null removes a value. */
    public function updateSession(int $fd, array $values): void
    {
        $this->call('updateSession', ['fd' => $fd, 'values' => (object) $values]);
    }

    /** Merges values into the stored ones of all connections of a user, and returns their number. */
    public function updateSessionUID(string $uid, array $values): int
    {
        return $this->call('updateSessionUID', ['uid' => $uid, 'values' => (object) $values])['connections'];
    }

    // Queries. Lists are paged, at most 1,000 entries a page; $after is the last entry of the
    // previous page.

    public function isOnline(int $fd): bool
    {
        return $this->call('isOnline', ['fd' => $fd])['online'];
    }

    public function isUIDOnline(string $uid): bool
    {
        return $this->call('isUIDOnline', ['uid' => $uid])['online'];
    }

    /** Returns ['connections' => …, 'uids' => …, 'rooms' => …, 'nodes' => …]. */
    public function counts(): array
    {
        return $this->call('counts');
    }

    public function roomCount(string $room): int
    {
        return $this->call('roomCount', ['room' => $room])['members'];
    }

    /**
     * Returns a list; each entry is ['fd' => …, 'auth' => ['id' => …, 'type' => …, …], 'uids' =>
     * […], 'node' => …]
     */
    public function connections(int $after = 0, int $limit = 100): array
    {
        return $this->call('connections', ['after' => $after, 'limit' => $limit])['items'];
    }

    public function roomMembers(string $room, int $after = 0, int $limit = 100): array
    {
        return $this->call('roomMembers', ['room' => $room, 'after' => $after, 'limit' => $limit])['items'];
    }

    public function uids(string $after = '', int $limit = 100): array
    {
        return $this->call('uids', ['after' => $after, 'limit' => $limit])['items'];
    }

    /** Lists all connections of a user. */
    public function uidConnections(string $uid): array
    {
        return $this->call('uidConnections', ['uid' => $uid])['items'];
    }

    public function roomNames(string $after = '', int $limit = 100): array
    {
        return $this->call('roomNames', ['after' => $after, 'limit' => $limit])['items'];
    }

    /**
     * Returns ['room', 'epoch', 'offset', 'first', 'items' => [['offset', 'time', 'push'], …]];
     * $after -1 means the newest.
     */
    public function history(string $room, int $after = -1, int $limit = 100): array
    {
        return $this->call('history', ['room' => $room, 'after' => $after, 'limit' => $limit]);
    }

    private static function push(string $event, $param, array $more): array
    {
        return ['event' => $event] + ($param === null ? [] : ['param' => $param]) + $more;
    }

    /** @return array [HTTP status, body], or [0, reason] if there was no response. */
    private function post(string $path, string $body, array $headers): array
    {
        if ($this->token !== '') {
            $headers[] = 'Authorization: Bearer ' . $this->token;
        }
        $headers[] = 'Connection: close';
        $context = stream_context_create(['http' => [
            'method' => 'POST', 'header' => $headers, 'content' => $body, 'timeout' => $this->timeout,
            'ignore_errors' => true, 'follow_location' => 0, 'protocol_version' => 1.1,
        ]]);
        $stream = @fopen($this->base . $path, 'rb', false, $context);
        if ($stream === false) {
            return [0, error_get_last()['message'] ?? 'no answer'];
        }
        $text = stream_get_contents($stream);
        $meta = stream_get_meta_data($stream);
        fclose($stream);
        if ($meta['timed_out'] || $text === false || empty($meta['wrapper_data'][0])) {
            return [0, "no answer in {$this->timeout} s"];
        }
        return [(int) explode(' ', $meta['wrapper_data'][0])[1], $text];
    }
}
