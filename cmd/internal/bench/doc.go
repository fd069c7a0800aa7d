// Package bench measures how many requests a second a Perch cluster answers,
// beside a bare net/http handler under the same load in the same minutes.
//
// It guarantees that only complete 2xx answers are counted, that every other
// outcome is reported, and that the load generator does little besides system
// calls: requests are formatted beforehand and answers are not decoded. It
// does not model an open arrival process: each connection waits for its answer
// before it sends again, so latencies are those of a closed loop.
package bench
