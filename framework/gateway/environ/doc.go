// Package environ writes what a handshake tells as PHP's superglobals: the body of the event that
// BusinessWorkers of GatewayWorker get as onWebSocketConnect's $data.
//
// The query and the cookies are read as PHP's parse_str reads them, with the bounds of PHP's
// defaults: 1,000 variables (max_input_vars), 64 levels (max_input_nesting_level).
//
// All functions are pure and safe for concurrent use.
package environ
