//go:build pin

// Package perses pins the version of Perses in go.mod.
package perses

import _ "github.com/perses/perses/pkg/model/api"
