// Package cli is the commands that ask a cluster: what a person or a script does
// with Perch from a shell.
//
// Each command is one conversation over the HTTP API, by the generated client.
// There is one of each: config makes the HTTP client, asker sends and repeats,
// refusal makes errors of answers, printer prints. Every command takes the same
// flags and the same environment variables to find its cluster.
//
// What is guaranteed:
//
//   - A request is repeated only where that is safe: what reads, what carries an
//     Idempotency-Key (each write does), what names its session and so its place,
//     and what was certainly not applied. It is repeated for --timeout at most.
//   - An exit code says how it ended (package exit); when a write may or may not
//     have been done, that is a code of its own and never a guess.
//   - With -o json standard output has the server's JSON, unchanged but for the
//     space between its parts, or a stable shape that the help of the command
//     names: a list in pages is one array. Everything that is said to people goes
//     to standard error.
//   - What others have written is shown on a terminal with its control characters
//     escaped. To a file or a pipe a value goes byte for byte.
//
// What is not: two commands are two conversations. Whoever needs several changes
// at one position uses perch multi.
package cli
