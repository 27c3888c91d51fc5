package config

import (
	"errors"
	"slices"

	"gopkg.in/yaml.v3"
)

// hotTier is a HotConfig without its methods: one hot tier of a file.
type hotTier HotConfig

// UnmarshalYAML reads one hot tier or a list of them from a file. A mapping keeps the
// values of the keys that it does not have; a list replaces everything. It reads with
// the decoder of the file, so that unknown keys are errors, and lists all errors.
func (c *HotConfig) UnmarshalYAML(unmarshal func(any) error) error {
	var read readNode
	if err := unmarshal(&read); err != nil {
		return err
	}
	switch read.node.Kind {
	case yaml.MappingNode:
		c.List = nil
		return unmarshal((*hotTier)(c))
	case yaml.SequenceNode:
		*c = HotConfig{List: []HotConfig{}}
		return c.readList(unmarshal)
	default:
		return lineError(read.node, "a hot tier such as {url: http://prometheus:9090}, or a list of them")
	}
}

// readList reads a list of hot tiers. Malformed ones keep their place in the list, so
// that later errors name the right index.
func (c *HotConfig) readList(unmarshal func(any) error) error {
	var entries []*hotEntry
	if err := unmarshal(&entries); err != nil {
		return err
	}
	var malformed []string
	for _, entry := range entries {
		if entry == nil { // An empty element of the file.
			entry = &hotEntry{}
		}
		c.List = append(c.List, HotConfig(entry.tier))
		malformed = append(malformed, entry.malformed...)
	}
	if len(malformed) > 0 {
		return &yaml.TypeError{Errors: malformed}
	}
	return nil
}

// hotEntry is a hot tier in a list of a file, with the errors of reading it. The decoder
// drops elements whose UnmarshalYAML returns an error.
type hotEntry struct {
	tier      hotTier
	malformed []string
}

// UnmarshalYAML reads one hot tier. It keeps the errors that do not stop the decoder.
func (e *hotEntry) UnmarshalYAML(unmarshal func(any) error) error {
	var read readNode
	err := unmarshal(&read)
	if err == nil && read.node.Kind != yaml.MappingNode {
		err = lineError(read.node, "a hot tier such as {url: http://prometheus:9090}")
	} else if err == nil {
		err = unmarshal(&e.tier)
	}
	if list, is := errors.AsType[*yaml.TypeError](err); is {
		e.malformed = slices.Clone(list.Errors) // The decoder overwrites them.
		return nil
	}
	return err
}

// readNode is the node of a file that the decoder is at.
type readNode struct{ node *yaml.Node }

// UnmarshalYAML keeps the node.
func (r *readNode) UnmarshalYAML(node *yaml.Node) error {
	r.node = node
	return nil
}

// MarshalYAML returns the shape that UnmarshalYAML reads.
func (c HotConfig) MarshalYAML() (any, error) {
	if c.List == nil {
		return hotTier(c), nil
	}
	tiers := make([]hotTier, len(c.List))
	for i, entry := range c.List {
		tiers[i] = hotTier(entry)
	}
	return tiers, nil
}
