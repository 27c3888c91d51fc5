package datasource

// Patterns are those that the CUE model has, too.
var Patterns = []string{host, port, plain, name, tierName}
