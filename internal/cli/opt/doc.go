// Package opt reads command lines the way Kafka's tools read them: long options
// with "--name value" or "--name=value", no abbreviations, options that may be
// given several times, and a two-column help text.
//
// Users' scripts depend on which words are accepted and on how a mistake is
// reported; that is why this is not one of Go's flag libraries. It is pure.
package opt
