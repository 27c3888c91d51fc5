package tier

// Note is a sentence about the tiers in two forms. Callers who may not see how
// the tiers are configured get the public one. The zero Note says nothing.
type Note struct {
	// Detail may name external labels, sources, tenants and metrics of others.
	Detail string
	// Public names none of these.
	Public string
}

// PublicNote returns a note that every caller may read.
func PublicNote(text string) Note { return Note{Detail: text, Public: text} }

// For returns the form for a caller: the detailed one where detailed is set,
// and otherwise the public one.
func (n Note) For(detailed bool) string {
	if detailed {
		return n.Detail
	}
	return n.Public
}

// Texts returns that form of the notes, in their order.
func Texts(notes []Note, detailed bool) []string {
	var texts []string
	for _, note := range notes {
		texts = append(texts, note.For(detailed))
	}
	return texts
}
