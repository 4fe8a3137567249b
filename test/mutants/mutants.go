package main

// Files that mutants change.
const (
	isrFollower  = "internal/isr/follower.go"
	isrLeader    = "internal/isr/leader.go"
	isrProposal  = "internal/isr/proposal.go"
	partition    = "internal/replica/partition.go"
	fetchDoor    = "internal/replica/fetch.go"
	fetchLog     = "internal/replica/fetchlog.go"
	followerFile = "internal/replica/follower.go"
	manager      = "internal/replica/manager.go"
	replicaDirs  = "internal/replica/dirs.go"
	appendFile   = "internal/replica/append.go"
	elections    = "internal/controller/elections.go"
	change       = "internal/controller/change.go"
	alterISR     = "internal/controller/alterpartition.go"
	brokers      = "internal/controller/brokers.go"
	raftLoop     = "internal/quorum/raft/loop.go"
	producers    = "internal/producer/check.go"
	logLoad      = "internal/log/loadstate.go"
	logFile      = "internal/log/log.go"
	loading      = "internal/rsm/loading.go"
	appending    = "internal/rsm/appending.go"
	transaction  = "internal/txn/transaction.go"
	markers      = "internal/txn/markers.go"
	endTxn       = "internal/txn/end.go"
	classicGroup = "internal/group/classic_group.go"
	offsets      = "internal/group/offsets.go"
	shard        = "internal/rsm/shard.go"
)

// mutants are named after the rows of docs/architecture/traps.md that they bring back;
// those after a dash are rules of the protocol without a row.
var mutants = []mutant{
	{"R1", "a new follower truncates to its high watermark", 3, []edit{{partition,
		"	p.leader = nil\n	p.view.Store(&view{log: old.log, cfg: cfg, leaderID: leaderID,",
		"	_, _ = old.log.TruncateTo(min(old.log.HighWatermark(), old.log.LogEndOffset()))\n	p.leader = nil\n	p.view.Store(&view{log: old.log, cfg: cfg, leaderID: leaderID,"}}},
	{"R2", "the leader does not tell that a follower diverges", 3, []edit{{isrFollower,
		"func Diverges(lastFetched kafka.LeaderEpoch, offset int64, epoch kafka.LeaderEpoch, end int64) bool {\n",
		"func Diverges(lastFetched kafka.LeaderEpoch, offset int64, epoch kafka.LeaderEpoch, end int64) bool {\n	if end >= 0 {\n		return false\n	}\n"}}},
	{"R2-once", "a follower cuts where the leader says, whatever its own epochs are", 3, []edit{{followerFile,
		"		to = oursEnd\n", "		to = end\n"}}},
	{"R4", "the start of an epoch is not noted before it is served", 3, []edit{{partition,
		"if err := old.log.AssignEpochStart(a.LeaderEpoch); err != nil {", "if err := old.log.Load(); err != nil {"}}},
	{"R5", "the high watermark heeds the committed in-sync set only", 3, []edit{{isrLeader,
		"if l.inMaximalISR(f.ID) || f.caughtUp(l.localEnd, nowMs, l.maxLagMs) && l.eligible(f, b) {",
		"if slices.Contains(l.a.ISR, f.ID) {"}}},
	{"R5-local", "the high watermark is the leader's own end", 3, []edit{{isrLeader,
		"		if f.EndOffset >= hw {", "		if f.EndOffset >= hw || f.ID >= 0 {"}}},
	{"R6-shrink", "a proposed removal counts before it is committed", 3, []edit{{isrLeader,
		"	return slices.Contains(l.a.ISR, id) || slices.Contains(l.left, id) || l.pending != nil && l.pending.Added == id",
		"	return slices.Contains(l.a.ISR, id) && (l.pending == nil || !slices.Contains(l.pending.Removed, id)) || slices.Contains(l.left, id) || l.pending != nil && l.pending.Added == id"}}},
	{"R6-epochs", "the controller takes in-sync sets of any partition epoch and leader", 3, []edit{{alterISR,
		"	case in.LeaderEpoch < p.LeaderEpoch:\n		return kafka.FencedLeaderEpoch\n	case leader != p.Leader:\n		return kafka.InvalidRequest\n	case in.PartitionEpoch < p.PartitionEpoch:\n		return kafka.InvalidUpdateVersion\n",
		""}}},
	{"R7", "a fetch of an earlier incarnation counts", 3, []edit{
		{isrFollower, "ok && r.BrokerEpoch != -1 && r.BrokerEpoch < epoch {", "ok && r.BrokerEpoch < -1 && epoch > 0 {"},
		{isrFollower, "	return ok && f.HasEpoch && (f.BrokerEpoch == -1 || f.BrokerEpoch == epoch)", "	return ok && f.HasEpoch && epoch > -1"},
		{alterISR, "!b.Active() || e.BrokerEpoch != -1 && e.BrokerEpoch != b.Epoch {", "!b.Active() {"}}},
	{"R2-skipped", "a leader that missed an epoch counts what followers had before it", 3, []edit{{isrLeader,
		"	forget := !l.followsOn(a.LeaderEpoch)", "	forget := l.a.LeaderEpoch == kafka.NoEpoch"}}},
	{"R8", "a broker that lost data stays in the in-sync set", 3, []edit{{brokers,
		"	clean := req.Version >= 3 && req.PreviousBrokerEpoch == stored", "	clean := req.Version >= 3 || req.PreviousBrokerEpoch == stored"},
		{brokers, "		return p.InISR(id) || b.unclean == id", "		return b.unclean == id"}}},
	{"R8-moved", "a replica that is moved away stays eligible", 3, []edit{{change,
		"		return !stays || slices.Contains(c.isr, id)", "		return !stays && c.d == nil || slices.Contains(c.isr, id)"}}},
	{"R9", "fenced brokers may be in the in-sync set", 3, []edit{
		{alterISR, "		if b == nil || !b.Active() || e.BrokerEpoch", "		if b == nil || e.BrokerEpoch"},
		{replicaDirs, "	if b == nil || !b.Active() {\n		return -1, false", "	if b == nil {\n		return -1, false"}}},
	{"R10", "any live replica may be elected", 3, []edit{{change,
		"	if c.election == electUnclean {\n		if i :=", "	if c.election != electPreferred {\n		if i :="}}},
	{"R16", "any live replica may be the preferred leader", 3, []edit{{change,
		"c.election == electPreferred && len(c.replicas) > 0 && c.eligible(c.replicas[0])", "c.election == electPreferred && len(c.replicas) > 0 && c.alive(c.replicas[0])"}}},
	{"R17", "a reassignment ends before the new replicas are in sync", 3, []edit{{change,
		"	case !containsAll(isr, c.adding):\n		return\n", ""}}},
	{"R11-early", "a new leader takes its log end for the high watermark", 3, []edit{{partition,
		"l = isr.NewLeader(p.m.nodeID, end, old.log.HighWatermark(),", "old.log.UpdateHighWatermark(end)\n		l = isr.NewLeader(p.m.nodeID, end, end,"}}},
	{"R6-acks", "acks=all is answered by the leader alone", 3, []edit{{appendFile,
		"	if a.Acks == AcksAll && l.UnderMinISR() {", "	a.Acks = min(max(a.Acks, AcksLeader), AcksLeader)\n	if a.Acks == AcksAll && l.UnderMinISR() {"}}},
	{"R11-reads", "consumers read up to the log end", 3, []edit{{fetchDoor,
		"	case ToHighWatermark:\n		upTo = hw", "	case ToHighWatermark:\n		upTo = end"}}},
	{"T1", "duplicates are not looked for and sequences not checked", 3, []edit{
		{producers, "if d := e.duplicate(i); d != nil {", "if d := e.duplicate(i); d != nil && d.LastOffset < 0 {"},
		{producers, "	if before.epoch == batch.NoProducerEpoch || follows(last, seq) {", "	if before.epoch == batch.NoProducerEpoch || follows(last, seq) || seq <= last {"}}},
	{"T2", "followers do not learn of producers", 3, []edit{{producers,
		"	for k := range infos {\n		i := &infos[k]\n		if !i.HasProducerID() {", "	for k := range infos {\n		i := &infos[k]\n		if origin == batch.OriginReplication || !i.HasProducerID() {"}}},
	{"T8", "epochs of producers are not compared, transactions not verified", 3, []edit{{producers,
		"	if epoch > current || epoch == current && !strict {", "	if epoch > current || epoch == current && !strict || epoch >= 0 {"},
		{producers, "	if s.cfg.VerifyTransactions && !i.IsControl", "	if s.cfg.VerifyTransactions && i.BaseOffset < 0 && !i.IsControl"},
		{producers, "e != nil && i.ProducerEpoch < e.epoch {", "e != nil && i.ProducerEpoch < e.epoch && i.ProducerEpoch < 0 {"}}},
	{"T8-coordinator", "neither coordinators nor logs compare the epochs of producers", 3, []edit{{producers,
		"	if epoch > current || epoch == current && !strict {", "	if epoch > current || epoch == current && !strict || epoch >= 0 {"},
		{"internal/txn/partitions.go", "	case t.ProducerEpoch != a.ProducerEpoch:", "	case t.ProducerEpoch < a.ProducerEpoch:"}}},
	{"T7", "producers are forgotten by a restart", 3, []edit{{logLoad,
		"	if len(infos) == 0 {\n		return nil, nil\n	}\n	update, _, err := state.Check", "	if len(infos) >= 0 {\n		return nil, nil\n	}\n	update, _, err := state.Check"}}},
	{"T11", "a coordinator answers before its decision is committed", 3, []edit{{appending,
		"ok && hw >= h.end && len(s.held) == 0 {", "ok && hw >= 0 {"}}},
	{"T11-load", "a coordinator begins with an empty state", 1, []edit{{loading,
		"	for at := l.LogStartOffset(); at < end; {", "	for at := end; at < end; {"}}},
	{"T12", "the last stable offset is the high watermark", 1, []edit{{logFile,
		"	return min(hw, l.unstable.Load())\n", "	return min(hw, max(hw, l.unstable.Load()))\n"}}},
	{"T13", "aborted transactions are not told to the reader", 1, []edit{{fetchLog,
		"		part.Aborted, err = l.AbortedTxns(part.FetchOffset, data.NextOffset)\n",
		"		part.Aborted, err = l.AbortedTxns(part.FetchOffset, part.FetchOffset)\n"}}},
	{"T10", "epochs stay, though clients were told that they rise", 1, []edit{{transaction,
		"		n.LastProducerEpoch = t.ProducerEpoch\n		if t.ProducerEpoch < math.MaxInt16 {", "		n.LastProducerEpoch = t.ProducerEpoch\n		if t.ProducerEpoch < 0 {"}}},
	{"T9-markers", "one partition of a transaction gets no marker", 1, []edit{{markers,
		"	return []coord.Effect{m.markers(t)}\n", "	e := m.markers(t)\n	if len(e.Partitions) > 1 {\n		e.Partitions = e.Partitions[1:]\n	}\n	return []coord.Effect{e}\n"}}},
	{"T13-outcome", "an abort writes the markers of a commit", 1, []edit{{endTxn,
		"func outcomes(commit bool) (prepared, complete State) {\n	if commit {", "func outcomes(commit bool) (prepared, complete State) {\n	if commit || !commit {"}}},
	{"G1", "a group's offsets are gone after a restart", 1, []edit{{loading,
		"		if err := s.replayBatch(buf[infos[i].Pos:infos[i].End()], &infos[i], at); err != nil {",
		"		if i%2 == 1 {\n			continue\n		}\n		if err := s.replayBatch(buf[infos[i].Pos:infos[i].End()], &infos[i], at); err != nil {"}}},
	{"G2", "a demoted coordinator answers what it held as if it were committed", 3, []edit{{shard,
		"		if !ok {\n			return false\n		}\n		h := s.held[0]\n		if hw < h.end {", "		h := s.held[0]\n		if ok && hw < h.end {"}}},
	{"G4", "members of former generations may commit", 1, []edit{{classicGroup,
		"	case c.epoch < 0 && g.state == empty:", "	case c.epoch >= -1:"}}},
	{"G5", "offsets stay when their topic is deleted", 3, []edit{
		{offsets, "		return ok && (o.topicID.IsZero() || o.topicID == id)", "		return ok && o.topicID == id && o.topicID.IsZero()"},
		{offsets, "		return img.TopicByID(o.topicID) == nil\n", "		return false\n"},
		{offsets, "			return img.Topic(topic) == nil\n", "			return false\n"}}},
	{"N9-flush", "metadata counts before it is on disk", 3, []edit{{raftLoop,
		"	if err := e.o.Log.FlushTo(end); err != nil {", "	if err := error(nil); err != nil && end >= 0 {"}}},
	{"N9-vote", "a vote counts before it is on disk", 3, []edit{{raftLoop,
		"		return quorum.WriteElectionState(e.o.FS, e.o.Dir, s, version)\n", "		_ = version\n		return nil\n"}}},
	{"-follower-bytes", "a follower leaves out every hundredth batch", 3, []edit{{followerFile,
		"	_, err := l.AppendVerbatim(data, infos, nowMs)\n	var unexpected", "	if len(infos) == 1 && infos[0].BaseOffset%100 == 99 {\n		return nil\n	}\n	_, err := l.AppendVerbatim(data, infos, nowMs)\n	var unexpected"}}},
}
