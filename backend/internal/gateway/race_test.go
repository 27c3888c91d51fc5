//go:build race

package gateway_test

// raced is set where the race detector multiplies time and memory.
const raced = true
