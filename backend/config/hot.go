package config

import "gopkg.in/yaml.v3"

// hotTier is a HotConfig without its methods: one hot tier of a file.
type hotTier HotConfig

// readNode is the node of a file that the decoder is at.
type readNode struct{ node *yaml.Node }

// UnmarshalYAML keeps the node.
func (r *readNode) UnmarshalYAML(node *yaml.Node) error {
	r.node = node
	return nil
}

// UnmarshalYAML reads one hot tier or a list of them from a file. A mapping keeps the
// values of the keys that it does not have; a list replaces everything. It uses the
// decoder of the file, so that unknown keys are errors, and lists all errors.
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
		var tiers []*hotTier
		err := unmarshal(&tiers)
		*c = HotConfig{List: make([]HotConfig, len(tiers))}
		for i, entry := range tiers {
			if entry != nil { // A nil one is an empty element of the file.
				c.List[i] = HotConfig(*entry)
			}
		}
		return err
	default:
		return lineError(read.node, "a hot tier such as {url: http://prometheus:9090}, or a list of them")
	}
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
