//go:build mutants

// Command mutants proves that the simulator and the directed tests are awake:
// it puts one known bug after another into a copy of the sources, and each must
// be found, by at most 5 000 seeds or by the schedule or test that the table
// names. Bugs are replacements of a text, kept in the table; the files of the
// work tree are never touched, and no switch for a bug stands in them.
//
// Its last line is "mutants: N of N found"; it exits with 1 when one survives,
// does not compile or no longer applies.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

func main() {
	var only string
	var list bool
	var workers, seeds int
	flag.StringVar(&only, "only", "", "try these mutants alone, names with commas between")
	flag.BoolVar(&list, "list", false, "list the mutants and try none")
	flag.IntVar(&workers, "workers", runtime.GOMAXPROCS(0), "mutants tried at once")
	flag.IntVar(&seeds, "seeds", seedsMax, "seeds that a mutant may live through")
	flag.Parse()
	rows, err := chosen(only)
	if err == nil && !list {
		err = tryAll(rows, max(1, workers), seeds)
	} else if err == nil {
		for i := range rows {
			fmt.Printf("%-34s %-24s %s\n", rows[i].name, rows[i].origin, rows[i].by)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func chosen(only string) (rows []mutant, err error) {
	if only == "" {
		return table, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(table, func(m mutant) bool { return m.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no mutant %q; -list lists them", name)
		}
		rows = append(rows, table[i])
	}
	return rows, nil
}

// tryAll tries the mutants, a few at once, and prints a row for each in the
// order of the table.
func tryAll(rows []mutant, workers, seeds int) error {
	r, err := newRunner(seeds)
	if err != nil {
		return err
	}
	defer r.close()
	results := make([]chan result, len(rows))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	next := make(chan int)
	for range workers {
		go func() {
			for i := range next {
				results[i] <- r.try(&rows[i])
			}
		}()
	}
	go func() {
		for i := range rows {
			next <- i
		}
		close(next)
	}()
	found := 0
	fmt.Printf("%-34s %-24s %-44s %s\n", "mutant", "origin", "found by", "what broke")
	for i := range rows {
		res := <-results[i]
		fmt.Printf("%-34s %-24s %-44s %s\n", rows[i].name, rows[i].origin, res.by, res.broke)
		if res.found {
			found++
		}
	}
	fmt.Printf("mutants: %d of %d found\n", found, len(rows))
	if found < len(rows) {
		return fmt.Errorf("%d survived: a check is missing, or the row is wrong", len(rows)-found)
	}
	return nil
}
