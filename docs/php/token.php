<?php
/**
 * Issues the tokens with which clients connect to wsframe. Requires PHP 7.2 or newer with the
 * openssl extension.
 *
 *   require 'token.php';
 *   $token = wsframe_token(getenv('WSFRAME_APP_AUTH_KEY'), [
 *       'id' => $user->id, 'type' => 'wechatUser', 'code' => $room, 'nickname' => $user->name,
 *   ]);
 *   // the page connects to wss://example.com/?auth=$token
 *
 * id and code: strings or integers of at most 64 of the characters A-Z a-z 0-9 _ . : @ - because
 * they become part of Redis key names. code may be empty. type: at most 32 of the same characters.
 * nickname: at most 128 characters, UTF-8. ctime: UNIX time of issue, by default now. auth.lifetime
 * limits how long a token is valid.
 */

/**
 * Issues a token in the current format (AES-256-GCM). $key is auth.key from config/app.yaml, at
 * least 16 bytes.
 */
function wsframe_token(string $key, array $identity): string
{
    if (strlen($key) < 16) {
        throw new InvalidArgumentException('auth.key: at least 16 bytes');
    }
    $nonce = random_bytes(12);
    $tag = '';
    $sealed = openssl_encrypt(wsframe_identity($identity), 'aes-256-gcm', hash('sha256', $key, true), OPENSSL_RAW_DATA, $nonce, $tag, 'w1.', 16);
    if ($sealed === false) {
        throw new RuntimeException('aes-256-gcm: ' . openssl_error_string());
    }
    return 'w1.' . rtrim(strtr(base64_encode($nonce . $sealed . $tag), '+/', '-_'), '=');
}

/**
 * Issues a token in the format of MSwoole-ws (3DES), for servers with auth.accept_3des. $key is
 * auth.key_3des, 1 to 24 bytes.
 */
function wsframe_token_3des(string $key, array $identity): string
{
    if ($key === '' || strlen($key) > 24) {
        throw new InvalidArgumentException('auth.key_3des: 1 to 24 bytes');
    }
    $sealed = openssl_encrypt(wsframe_identity($identity), 'des-ede3', str_pad($key, 24, '0'), 0);
    if ($sealed === false) {
        throw new RuntimeException('des-ede3: ' . openssl_error_string());
    }
    return strtr($sealed, '+/=', '*:_');
}

/** Returns the plain text of a token. Throws for values that the server would refuse. */
function wsframe_identity(array $identity): string
{
    $five = ['id' => '', 'type' => '', 'code' => '', 'nickname' => '', 'ctime' => time()];
    if (array_diff_key($identity, $five)) {
        throw new InvalidArgumentException('a token holds id, type, code, nickname and ctime only');
    }
    $identity = array_merge($five, $identity);
    foreach (['id' => '{1,64}', 'type' => '{1,32}', 'code' => '{0,64}'] as $field => $length) {
        if (!preg_match('/^[A-Za-z0-9_.:@-]' . $length . '$/D', (string) $identity[$field])) {
            throw new InvalidArgumentException("$field must be $length of the characters A-Z a-z 0-9 _ . : @ -");
        }
    }
    if (!preg_match('/^.{0,128}$/sDu', (string) $identity['nickname'])) {
        throw new InvalidArgumentException('nickname must be at most 128 characters of UTF-8');
    }
    return json_encode([
        'id' => (string) $identity['id'], 'type' => (string) $identity['type'], 'code' => (string) $identity['code'],
        'nickname' => (string) $identity['nickname'], 'ctime' => (int) $identity['ctime'],
    ], JSON_UNESCAPED_UNICODE);
}
