package engine

// NotCached says why nothing of the answer to the query can be kept. It returns an empty text if
// some of it can be.
func (p *Plan) NotCached() string {
	evidence, cold := p.replica.Catalog, p.query.Datasource.Cold
	switch {
	case !p.isCached():
		return "the cache is off"
	case p.stepwise == nil && p.notStepwise != nil:
		return p.notStepwise.Error()
	case evidence == nil:
		return "the datasource has one tier"
	case len(p.Warnings) > 0:
		return "the answer carries a warning"
	}
	if _, isStable := cold.StableStores(); !isStable {
		return "a store of cold is missing"
	}
	if p.lookup() == nil {
		return "it is not known until when cold has all samples"
	}
	return ""
}
