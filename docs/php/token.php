<?php
/**
 * Issues the tokens with which clients connect to wsframe. PHP 7.2 or newer with the openssl extension.
 *
 *   require 'token.php';
 *   $token = wsframe_token(getenv('WSFRAME_APP_AUTH_KEY'), [
 *       'id' => $user->id, 'type' => 'wechatUser', 'code' => $room, 'nickname' => $user->name, 'ctime' => time(),
 *   ]);
 *   // the page connects to wss://example.com/?auth=$token
 */

/** AES-256-GCM, the form to use: $key is auth.key of config/app.yaml. */
function wsframe_token(string $key, array $identity): string
{
    $nonce = random_bytes(12);
    $tag = '';
    $plain = json_encode($identity, JSON_UNESCAPED_UNICODE);
    $sealed = openssl_encrypt($plain, 'aes-256-gcm', hash('sha256', $key, true), OPENSSL_RAW_DATA, $nonce, $tag, 'w1.', 16);
    return 'w1.' . rtrim(strtr(base64_encode($nonce . $sealed . $tag), '+/', '-_'), '=');
}

/** 3DES, the form of MSwoole-ws: only while auth.accept_3des is on. $key is auth.key_3des. */
function wsframe_token_3des(string $key, array $identity): string
{
    $plain = json_encode($identity);
    $pad = 8 - strlen($plain) % 8;
    $plain .= str_repeat(chr($pad), $pad);
    $sealed = openssl_encrypt($plain, 'des-ede3-ecb', str_pad($key, 24, '0'), OPENSSL_RAW_DATA | OPENSSL_ZERO_PADDING);
    return strtr(base64_encode($sealed), '+/=', '*:_');
}
