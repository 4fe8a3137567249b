package fetchsession

import "github.com/gregorhq/gregor/internal/kafka"

// Client is the fetcher's side of one session: it says what the next request carries
// and what an answer means for the one after. The fetcher keeps what the session knows
// of its partitions. The zero value asks for a session with its first request.
type Client struct {
	id    int32
	epoch int32
}

// Next is the session id and epoch of the next request.
func (c *Client) Next() (id, epoch int32) { return c.id, c.epoch }

// Full says whether the next request has to name every partition.
func (c *Client) Full() bool { return IsFull(c.epoch) }

// Reset gives the session up, as after an error on the connection: nobody knows whether
// the other side has counted the request. The next request closes the old session and
// asks for another.
func (c *Client) Reset() { c.epoch = InitialEpoch }

// Answered takes the error code (nil for none) and session id of an answer. It is false
// when the answer holds no partitions because the session is in disorder; the next
// request is a full one then.
func (c *Client) Answered(code *kafka.Code, id int32) (ok bool) {
	switch {
	case code == kafka.FetchSessionIDNotFound:
		c.id, c.epoch = InvalidSessionID, InitialEpoch
		return false
	case code != nil:
		c.epoch = InitialEpoch
		return false
	case id == InvalidSessionID:
		// There is no room for a session, or the last partition has left it.
		c.id, c.epoch = InvalidSessionID, InitialEpoch
		return true
	case !c.Full() && id != c.id:
		// An answer for another session: what it holds cannot be trusted to be ours.
		c.epoch = InitialEpoch
		return false
	}
	c.id, c.epoch = id, NextEpoch(c.epoch)
	return true
}
