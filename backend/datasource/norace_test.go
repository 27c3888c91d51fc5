//go:build !race

package datasource_test

// raced is set where the race detector multiplies time and memory.
const raced = false
