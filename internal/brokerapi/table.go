package brokerapi

import "github.com/gregorhq/gregor/internal/server"

// Table lists every handler with the versions that it serves; nothing else is
// announced to clients.
func (a *API) Table() server.Table {
	t := server.Table{}
	add := func(key, min, max int16, h func(*server.Request)) {
		t[key] = server.Entry{Min: min, Max: max, Handler: server.HandlerFunc(h)}
	}
	a.init()
	// The data plane.
	add(0, 0, 13, a.produce)
	add(1, 0, 18, a.fetch)
	add(2, 0, 11, a.listOffsets)
	add(21, 0, 2, a.deleteRecords)
	add(22, 0, 5, a.initProducerID)
	add(23, 0, 4, a.offsetForLeaderEpoch)
	add(34, 0, 2, a.alterReplicaLogDirs)
	add(35, 0, 5, a.describeLogDirs)
	// The admin plane.
	a.adminTable(add)
	// The transaction plane.
	a.txnTable(add)
	// The group plane.
	a.groupTable(add)
	return t
}
