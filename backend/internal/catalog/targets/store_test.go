package targets

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStore_HoldsLongerHolesInsteadOfMore(t *testing.T) {
	var s store
	for i := range int64(50) {
		s.replace(targetOf(1), 10*i, 10*i+1, []stretch{{10 * i, 10*i + 5}})
	}
	require.Len(t, s.holes(), mostOfTarget)
	require.Equal(t, mostOfTarget, s.count)
	require.Equal(t, int64(0), s.holes()[mostOfTarget-1].From, "nothing is forgotten")
}

func TestStore_Replaces(t *testing.T) {
	var s store
	s.replace(targetOf(1), 0, 1, []stretch{{10, 20}})
	s.replace(targetOf(1), 50, 51, []stretch{{50, End}})
	require.True(t, s.isDown(keyOf(targetOf(1))))
	require.Equal(t, map[string]Target{keyOf(targetOf(1)): targetOf(1)}, s.down())
	// It goes on at 60, where the next look begins.
	s.replace(targetOf(1), 60, 61, []stretch{{60, 90}})
	require.Equal(t, []Hole{{targetOf(1), 50, 90}, {targetOf(1), 10, 20}}, s.holes())
	require.False(t, s.isDown(keyOf(targetOf(1))))
	s.forget(20)
	require.Equal(t, []Hole{{targetOf(1), 50, 90}}, s.holes())
	s.replace(targetOf(1), 0, 1, nil)
	require.Empty(t, s.holes())
	require.Zero(t, s.count)
	s.replace(targetOf(2), 0, 1, []stretch{{1, 2}})
	s.forget(2)
	require.Empty(t, s.byTarget)
}

func TestStore_BeyondItsBoundTheOldestHolesAreOfTheServer(t *testing.T) {
	var s store
	for i := range int64(mostHoles) {
		s.replace(targetOf(int(i)), 0, 1, []stretch{{1000 * i, 1000*i + 10}})
	}
	require.Empty(t, s.server)
	s.replace(targetOf(mostHoles), 0, 1, []stretch{{5, End}})
	require.Less(t, s.count, mostHoles)
	require.Len(t, s.server, mostOfServer)
	require.Zero(t, s.server[0].from)
	require.True(t, s.isDown(keyOf(targetOf(mostHoles))), "the latest one is still told apart")
	// Each hole is still there, as one of its target or of the server.
	all := s.holes()
	for i := range int64(mostHoles) {
		require.True(t, slices.ContainsFunc(all, func(hole Hole) bool {
			return hole.From <= 1000*i && hole.To >= 1000*i+10 && (hole.Target == nil || keyOf(hole.Target) == keyOf(targetOf(int(i))))
		}), i)
	}
	for i := range 2 * mostHoles {
		s.replace(targetOf(i), 0, 1, []stretch{{int64(i), int64(i) + 2_000_000}})
		require.LessOrEqual(t, s.count+len(s.server), mostHoles+mostOfServer)
	}
}

func TestStore_HolesOfTheServerComeInPieces(t *testing.T) {
	var s store
	piece := pieceOfServer.Milliseconds()
	s.addServer(0, 2*piece+1)
	require.Equal(t, []stretch{{0, piece}, {piece, 2 * piece}, {2 * piece, End}}, s.server)
	s.endServer(2*piece + 7)
	require.Equal(t, stretch{2 * piece, 2*piece + 7}, s.server[2])
	for i := range int64(200) {
		s.endServer(3*piece + i*piece)
		s.addServer(3*piece+i*piece, 4*piece+i*piece)
	}
	require.Len(t, s.server, mostOfServer)
	require.Equal(t, int64(0), s.server[0].from)
}
