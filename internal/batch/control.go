package batch

// ControlType is the type in the key of a control record.
type ControlType int16

// The types of control records.
const (
	ControlAbort          ControlType = 0
	ControlCommit         ControlType = 1
	ControlLeaderChange   ControlType = 2
	ControlSnapshotHeader ControlType = 3
	ControlSnapshotFooter ControlType = 4
	ControlKRaftVersion   ControlType = 5
	ControlKRaftVoters    ControlType = 6
)

// Control is the first record of a control batch.
type Control struct {
	Type ControlType
	// CoordinatorEpoch is meaningful for ControlAbort and ControlCommit.
	CoordinatorEpoch int32
	// Valid says that there is a record and that its type, and for transaction
	// markers the epoch, could be read. A control batch without records is not
	// valid; it is what compaction leaves of a marker.
	Valid bool
}

const controlVersion = 0

// ControlKey is the key of a control record of type t.
func ControlKey(t ControlType) []byte {
	return be.AppendUint16(be.AppendUint16(nil, controlVersion), uint16(t))
}

// ParseControlKey reads the key of a control record. Keys of later versions have
// the same beginning.
func ParseControlKey(key []byte) (t ControlType, ok bool) {
	if len(key) < 4 || int16(be.Uint16(key)) < controlVersion {
		return 0, false
	}
	return ControlType(be.Uint16(key[2:])), true
}

// EndTxnMarker is the key and the value of the control record that ends a
// transaction.
func EndTxnMarker(commit bool, coordinatorEpoch int32) (key, value []byte) {
	t := ControlAbort
	if commit {
		t = ControlCommit
	}
	return ControlKey(t), be.AppendUint32(be.AppendUint16(nil, controlVersion), uint32(coordinatorEpoch))
}

// ParseControl reads a control record.
func ParseControl(key, value []byte) Control {
	t, ok := ParseControlKey(key)
	if !ok {
		return Control{}
	}
	c := Control{Type: t, Valid: true}
	if t == ControlAbort || t == ControlCommit {
		if len(value) < 6 || int16(be.Uint16(value)) < controlVersion {
			return Control{}
		}
		c.CoordinatorEpoch = int32(be.Uint32(value[2:]))
	}
	return c
}

// maxControlBytes bounds what a compressed control batch may decompress to.
const maxControlBytes = 1 << 20

// readControl reads the first record of a whole control batch.
func readControl(b []byte) Control {
	var it Iter
	defer it.Close()
	var r Record
	if it.Reset(b, maxControlBytes) != nil || !it.Next(&r) {
		return Control{}
	}
	return ParseControl(r.Key, r.Value)
}
