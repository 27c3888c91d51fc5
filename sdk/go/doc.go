// Package sdk leads to the packages that build tiered datasources, queries and variables with the Go SDK of Perses
// (github.com/perses/perses/go-sdk): datasource, query, query/alert-threshold, and three below variable. They have its conventions: a function
// named after the kind takes options and is itself an option of Perses' builders.
//
// It is a module of its own, so that a repository of dashboards does not depend on what the gateway is built from.
package sdk
