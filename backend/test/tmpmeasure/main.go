package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

func main() {
	n, _ := strconv.Atoi(os.Args[2])
	now := time.Now()
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), os.Args[1], (50 * time.Hour).Milliseconds())
	if err != nil {
		panic(err)
	}
	app := w.Appender(context.Background())
	refs := make([]storage.SeriesRef, n)
	c := 0
	for at := now.Add(-2 * time.Hour).Truncate(15 * time.Second); at.Before(now.Add(time.Hour)); at = at.Add(15 * time.Second) {
		for i := range n {
			l := labels.EmptyLabels()
			if refs[i] == 0 {
				l = labels.FromStrings("__name__", "up", "job", fmt.Sprintf("job-%d", i/100), "instance", fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250), "namespace", fmt.Sprintf("ns-%d", i/40), "pod", fmt.Sprintf("pod-%d-abcdef", i), "endpoint", "http", "service", fmt.Sprintf("svc-%d", i/100), "container", "app")
			}
			v := 1.0
			if i%2000 == 7 || (i%1000 == 3 && (at.Unix()/60)%30 == 0) {
				v = 0
			}
			r, err := app.Append(refs[i], l, at.UnixMilli()+int64(i%15000), v)
			if err != nil {
				panic(err)
			}
			refs[i] = r
			c++
		}
		if c > 100000 {
			app.Commit()
			app = w.Appender(context.Background())
			c = 0
		}
	}
	app.Commit()
	id, err := w.Flush(context.Background())
	fmt.Println(id, err)
	w.Close()
}
