<?php
// A client of a gateway, written by its protocol: it asks the Register for the gateways, and sends the commands that come on stdin.
//
//	php gateway.php REGISTER SECRET once|persistent
//
// Each line of stdin is one command, {"cmd":5,"id":"7f0000010b5400000001","ext":"","body":"hi","flag":1,"asks":false}. A command without an id goes to all gateways.
// Each question is answered by one line of stdout: the JSON of what PHP reads from the answers, one for each gateway.

error_reporting(-1);
set_error_handler(function ($no, $text) { fwrite(STDERR, "$text\n"); exit(1); });
[, $register, $secret, $mode] = $argv;

function addresses(string $register, string $secret): array
{
    $socket = stream_socket_client("tcp://$register", $no, $text, 3);
    stream_set_timeout($socket, 5);
    fwrite($socket, json_encode(['event' => 'worker_connect', 'secret_key' => $secret]) . "\n");
    $line = json_decode(fgets($socket), true);
    if ($line['event'] !== 'broadcast_addresses' || !$line['addresses']) {
        throw new Exception('no gateway');
    }
    return $line['addresses'];
}

function frame(int $cmd, int $connection, string $ext, string $body, int $flag): string
{
    return pack('NCNnNnNCnN', 28 + strlen($ext) + strlen($body), $cmd, 0, 0, 0, 0, $connection, $flag, 0, strlen($ext)) . $ext . $body;
}

function connection(string $address)
{
    global $mode;
    static $kept = [];
    if ($mode === 'once') {
        return stream_socket_client("tcp://$address", $no, $text, 3);
    }
    return $kept[$address] ??= stream_socket_client("tcp://$address", $no, $text, 3, STREAM_CLIENT_PERSISTENT | STREAM_CLIENT_CONNECT);
}

function bytes($socket, int $n): string
{
    for ($got = ''; strlen($got) < $n; $got .= $part) {
        $part = fread($socket, $n - strlen($got));
        if ($part === '' || $part === false) {
            throw new Exception('no answer');
        }
    }
    return $got;
}

$gateways = addresses($register, $secret);
while (($line = fgets(STDIN)) !== false) {
    $c = json_decode($line, true);
    $to = $gateways;
    $connection = 0;
    if (!empty($c['id'])) {
        $id = unpack('Nip/nport/Nconnection', hex2bin($c['id']));
        $to = [long2ip($id['ip']) . ':' . $id['port']];
        $connection = $id['connection'];
    }
    $answers = [];
    foreach ($to as $address) {
        $socket = connection($address);
        stream_set_timeout($socket, 5);
        $first = $secret === '' ? '' : frame(202, 0, '', json_encode(['secret_key' => $secret]), 1);
        fwrite($socket, $first . frame($c['cmd'], $connection, $c['ext'] ?? '', $c['body'] ?? '', $c['flag'] ?? 1));
        if (!empty($c['asks'])) {
            $length = unpack('N', bytes($socket, 4))[1];
            $answers[] = unserialize(bytes($socket, $length));
        }
    }
    if (!empty($c['asks'])) {
        echo json_encode($answers, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES), "\n";
    }
}
