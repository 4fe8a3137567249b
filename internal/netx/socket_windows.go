package netx

// canTryRead tells that tryRead works here: Windows cannot be asked for readiness.
const canTryRead = false

func (s *Socket) tryRead(fd uintptr) bool { return true }
