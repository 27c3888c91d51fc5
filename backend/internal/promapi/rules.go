package promapi

// PagingParameters are those by which a client asks for a part of the rules.
// The union of two servers has no such parts.
var PagingParameters = []string{"group_limit", "group_next_token"}
