// Package codes is the matrix of error codes: which code a client is answered, to which
// request, and what becomes of the client. It holds the table (table.txt), from which the
// page docs/compat/codes.md is made, and the relay that puts a code into the next
// response to one kind of request.
//
// The broker's own tests try the column of franz-go, `make compat-codes` those of the
// Java client and librdkafka.
package codes
