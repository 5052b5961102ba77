package gateway

import "strconv"

// commandNames are the names of GatewayWorker's protocol, for metrics and logs.
var commandNames = map[Command]string{
	cmdSendToOne: "send_to_one", cmdSendToAll: "send_to_all", cmdKick: "kick", cmdDestroy: "destroy",
	cmdUpdateSession: "update_session", cmdAllSessions: "get_all_client_sessions", cmdIsOnline: "is_online",
	cmdBindUID: "bind_uid", cmdUnbindUID: "unbind_uid", cmdSendToUID: "send_to_uid",
	cmdClientsByUID: "get_client_id_by_uid", cmdBatchClientsByUID: "batch_get_client_id_by_uid",
	cmdJoinGroup: "join_group", cmdLeaveGroup: "leave_group", cmdSendToGroup: "send_to_group",
	cmdSessionsByGroup: "get_client_sessions_by_group", cmdCountByGroup: "get_client_count_by_group",
	cmdSelect: "select", cmdGroups: "get_group_id_list", cmdUngroup: "ungroup",
	cmdBatchCountByGroup: "batch_get_client_count_by_group", cmdWorkerConnect: "worker_connect",
	cmdGatewayClientConnect: "gateway_client_connect", cmdSessionByClient: "get_session_by_client_id", cmdSetSession: "set_session",
}

// String returns the name of a command, or its number if it has none.
func (c Command) String() string {
	if name := commandNames[c]; name != "" {
		return name
	}
	return strconv.Itoa(int(c))
}
