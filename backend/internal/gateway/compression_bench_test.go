//go:build unix

package gateway

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// dashboardAnswer returns a range answer as a dashboard gets it: a third each of rates, of bytes
// and of ratios, with the digits that Prometheus writes.
func dashboardAnswer(series, points, step int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	separator := `{"status":"success","data":{"resultType":"matrix","result":[`
	for s := range series {
		fmt.Fprintf(&out, `%s{"metric":{"cluster":"lab","instance":"10.%d.%d.%d:9100","job":"node-exporter","pod":"node-exporter-%05x"},"values":[`,
			separator, s%4, s%250, s*7%250, random.Uint32()&0xfffff)
		level := 50 + random.Float64()*1000
		for p := range points {
			level += random.NormFloat64() * level / 50
			value := [...]float64{float64(int(level*300)) / 300, float64(int(level*1e5)) * 4096, level / (level + 700 + random.Float64())}[s%3]
			if p > 0 {
				out.WriteByte(',')
			}
			out.WriteString(`[` + strconv.Itoa(1767000000+p*step) + `,"` + strconv.FormatFloat(value, 'f', -1, 64) + `"]`)
		}
		out.WriteString(`]}`)
		separator = `,`
	}
	return append(out.Bytes(), `]}}`...)
}

// seriesAnswer returns the labels of many series.
func seriesAnswer(series int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var out bytes.Buffer
	separator := `{"status":"success","data":[`
	for s := range series {
		fmt.Fprintf(&out, `%s{"__name__":"container_memory_working_set_bytes","cluster":"lab","container":"app-%d","instance":"10.%d.%d.%d:9100","namespace":"team-%d","pod":"app-%d-%05x"}`,
			separator, s%40, s%4, s%250, s*7%250, s%12, s%40, random.Uint32()&0xfffff)
		separator = `,`
	}
	return append(out.Bytes(), `]}`...)
}

// coders are what could compress answers.
var coders = []struct {
	name string
	make func() encoder
}{
	{"gzip -1, as Thanos", newGzip(-1)},
	{"gzip 1", newGzip(1)}, {"gzip 2", newGzip(2)}, {"gzip 3", newGzip(3)}, {"gzip 6", newGzip(6)},
	{"zstd fastest, 64 KiB", newZstd(zstd.SpeedFastest, 64<<10)},
	{"zstd fastest, 128 KiB", newZstd(zstd.SpeedFastest, 128<<10)},
	{"zstd fastest, 512 KiB", newZstd(zstd.SpeedFastest, 512<<10)},
	{"zstd default, 128 KiB", newZstd(zstd.SpeedDefault, 128<<10)},
}

func newGzip(level int) func() encoder {
	return func() encoder {
		writer, _ := gzip.NewWriterLevel(io.Discard, level)
		return writer
	}
}

func newZstd(level zstd.EncoderLevel, window int) func() encoder {
	return func() encoder {
		writer, _ := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true), zstd.WithEncoderConcurrency(1))
		return writer
	}
}

func cpuTime() int64 {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return used.Utime.Nano() + used.Stime.Nano()
}

// BenchmarkCompress prints the bytes that are left, how many times those of Thanos that is, and the
// CPU time: see decision 0040.
func BenchmarkCompress(b *testing.B) {
	for _, answer := range []struct {
		name string
		body []byte
	}{
		{"7 d in 10 min, 30 series", dashboardAnswer(30, 1009, 600)},
		{"24 h in 1 min, 30 series", dashboardAnswer(30, 1441, 60)},
		{"1 h in 15 s, 5 series", dashboardAnswer(5, 241, 15)},
		{"labels of 10,000 series", seriesAnswer(10_000)},
		{"20 MB", dashboardAnswer(650, 1009, 600)},
		{"4 KB", dashboardAnswer(1, 130, 600)}, {"1 KB", dashboardAnswer(1, 27, 600)},
	} {
		thanos := 0
		for _, coder := range coders {
			b.Run(answer.name+"/"+coder.name, func(b *testing.B) {
				var out bytes.Buffer
				encoder := coder.make()
				started := cpuTime()
				for b.Loop() {
					out.Reset()
					encoder.Reset(&out)
					for rest := answer.body; len(rest) > 0; {
						n := min(bufferBytes, len(rest))
						_, _ = encoder.Write(rest[:n])
						rest = rest[n:]
					}
					_ = encoder.Close()
				}
				if thanos == 0 {
					thanos = out.Len()
				}
				b.SetBytes(int64(len(answer.body)))
				b.ReportMetric(float64(out.Len()), "bytes")
				b.ReportMetric(float64(out.Len())/float64(thanos), "×Thanos")
				b.ReportMetric(float64(cpuTime()-started)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
