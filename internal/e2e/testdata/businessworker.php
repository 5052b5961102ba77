<?php
// A BusinessWorker, written by its protocol: it asks the Register for the gateways, connects to each, and handles events of clients as an Events.php does.
//
//	php businessworker.php REGISTER SECRET KEY
//
// It runs until it is killed, and says on stdout what it does.

error_reporting(-1);
set_error_handler(function ($no, $text) { fwrite(STDERR, "$text\n"); exit(1); });
[, $register, $secret, $key] = $argv;

const SEND_TO_ONE = 5, SEND_TO_ALL = 6, KICK = 7, JOIN_GROUP = 20, SEND_TO_GROUP = 22, COUNT = 24, WORKER_CONNECT = 200, GATEWAY_CLIENT_CONNECT = 202, SET_SESSION = 204;

function frame(int $cmd, int $connection, string $ext, string $body): string
{
    return pack('NCNnNnNCnN', 28 + strlen($ext) + strlen($body), $cmd, 0, 0, 0, 0, $connection, 1, 0, strlen($ext)) . $ext . $body;
}

// put writes a whole frame.
function put($socket, string $bytes): void
{
    for (; $bytes !== ''; $bytes = substr($bytes, $n)) {
        $n = fwrite($socket, $bytes);
    }
}

// The handlers of Events.php. $_SESSION is what they changed last.
class Events
{
    static function onConnect(Client $c): void
    {
        $c->send('connect ' . json_encode($_SESSION));
    }

    static function onWebSocketConnect(Client $c, array $data): void
    {
        $_SESSION = ['n' => 0];
        $c->send('opened ' . json_encode([$data['get'], $data['cookie'], $data['server']['REQUEST_URI'], $data['server']['REMOTE_ADDR']], JSON_UNESCAPED_SLASHES));
    }

    static function onMessage(Client $c, string $message): void
    {
        [$do, $name, $text] = explode(':', $message, 3) + ['', '', ''];
        switch ($do) {
            case 'count':
                $c->send('n ' . ++$_SESSION['n']);
                break;
            case 'join':
                $c->command(JOIN_GROUP, $name, '');
                $c->send("joined $name");
                break;
            case 'group':
                $c->all(SEND_TO_GROUP, json_encode(['group' => [$name], 'exclude' => null]), $text);
                break;
            case 'key':
                $c->send($GLOBALS['key']);
                break;
            case 'hold': // until the file is removed, nothing is read
                $c->send('holds');
                for (; file_exists($name); clearstatcache()) {
                    usleep(1000);
                }
                break;
            case 'kick':
                $c->command(KICK, '', 'bye');
                break;
            case 'bytes':
                $_SESSION['bytes'] = ($_SESSION['bytes'] ?? 0) + strlen($message);
                break;
            case 'sum':
                $c->send('bytes ' . $_SESSION['bytes']);
                break;
        }
    }

    static function onClose(Client $c): void
    {
        $c->all(SEND_TO_ALL, '', 'closed ' . $c->id . ' ' . json_encode($_SESSION));
    }
}

// A client of which an event tells.
class Client
{
    public string $id;

    function __construct(private $socket, private int $connection, string $header)
    {
        $this->id = bin2hex($header . pack('N', $connection));
    }

    function command(int $cmd, string $ext, string $body): void
    {
        put($this->socket, frame($cmd, $this->connection, $ext, $body));
    }

    function send(string $text): void
    {
        $this->command(SEND_TO_ONE, '', $text);
    }

    function all(int $cmd, string $ext, string $body): void
    {
        put($this->socket, frame($cmd, 0, $ext, $body));
    }
}

// handle calls the handler of an event, and sends the session if that has changed.
function handle($socket, string $frame): void
{
    static $sessions = []; // by client, as of the last event
    $f = unpack('Nlength/Ccmd/a6gateway/NclientIP/nclientPort/Nconnection/Cflag/ngatewayPort/Next', $frame);
    $ext = substr($frame, 28, $f['ext']);
    $body = substr($frame, 28 + $f['ext']);
    $c = new Client($socket, $f['connection'], substr($frame, 5, 6));
    $before = $sessions[$c->id] ?? $ext; // events that were sent before a change arrived have the earlier one
    $_SESSION = $before === '' ? null : unserialize($before);
    switch ($f['cmd']) {
        case 1:
            Events::onConnect($c);
            break;
        case 205:
            Events::onWebSocketConnect($c, unserialize($body));
            break;
        case 3:
            Events::onMessage($c, $body);
            break;
        case 4:
            Events::onClose($c);
            unset($sessions[$c->id]);
            return;
    }
    $after = $_SESSION === null ? '' : serialize($_SESSION);
    if ($after !== $before) {
        $sessions[$c->id] = $after;
        $c->command(SET_SESSION, $after, '');
    }
}

$registered = stream_socket_client("tcp://$register", $no, $text, 3);
fwrite($registered, json_encode(['event' => 'worker_connect', 'secret_key' => $secret]) . "\n");
$line = json_decode(fgets($registered), true);
$gateways = [];
$buffers = [];
foreach ($line['addresses'] as $address) {
    $socket = stream_socket_client("tcp://$address", $no, $text, 3);
    put($socket, frame(WORKER_CONNECT, 0, '', json_encode(['worker_key' => $key, 'secret_key' => $secret])));
    $asking = stream_socket_client("tcp://$address", $no, $text, 3);
    put($asking, frame(GATEWAY_CLIENT_CONNECT, 0, '', json_encode(['secret_key' => $secret])) . frame(COUNT, 0, '', ''));
    fread($asking, 4); // the answer comes when the gateway knows of the worker
    fclose($asking);
    $gateways[(int) $socket] = $socket;
    $buffers[(int) $socket] = '';
}
echo "connected\n";
while ($gateways) {
    $readable = $gateways;
    $none = null;
    stream_select($readable, $none, $none, null);
    foreach ($readable as $i => $socket) {
        $part = fread($socket, 65536);
        if ($part === '' || $part === false) {
            echo "disconnected\n";
            unset($gateways[$i]);
            continue;
        }
        $buffers[$i] .= $part;
        while (strlen($buffers[$i]) >= 28 && strlen($buffers[$i]) >= ($size = unpack('N', $buffers[$i])[1])) {
            $frame = substr($buffers[$i], 0, $size);
            $buffers[$i] = substr($buffers[$i], $size);
            handle($socket, $frame);
        }
    }
}
