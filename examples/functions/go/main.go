// Command go is the job of examples/functions as a Go program: it books
// event.amount on event.account exactly once, whatever retries, duplicates,
// freezes or kills it. It reads events from its standard input, one a line,
// and answers each with a line.
//
//	event  {"id": "invocation 7", "account": "a", "amount": 3}
//	env    PERCH_URLS (or PERCH_URL), LEDGER_URL
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

type event struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// result says applied, already, refused, not acquired or error.
type result struct {
	Status string `json:"status"`
	Error  string `json:"error,omitempty"`
}

var (
	gateways = strings.Fields(cmp.Or(os.Getenv("PERCH_URLS"), os.Getenv("PERCH_URL"), "http://127.0.0.1:7070"))
	turn     int
	client   = &http.Client{Timeout: 30 * time.Second}
)

func main() {
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var e event
		r, err := result{}, json.Unmarshal(lines.Bytes(), &e)
		if err == nil {
			r, err = handle(e)
		}
		if err != nil {
			r = result{"error", err.Error()}
		}
		_ = answers.Encode(r) // nobody reads it any more: the next Scan ends
	}
}

// handle does the job for one event.
func handle(e event) (result, error) {
	// Drawn for each execution, never from the event: a duplicate is somebody else.
	session := make([]byte, 16)
	_, _ = rand.Read(session)
	token := hex.EncodeToString(session)
	lock := "/v1/locks/account-" + e.Account

	var grant struct {
		Token int64 `json:"fencing_token"`
	}
	wanted := map[string]any{"ttl_ms": 1500, "wait_ms": 20_000, "owner": e.ID}
	status, code, err := perch(lock+"/acquire", token, wanted, &grant)
	if err != nil || status != http.StatusOK {
		return result{"not acquired", code}, err
	}
	r, err := book(e, grant.Token)
	// 410: it was lost meanwhile, and the ledger has decided.
	if _, _, lost := perch(lock+"/release", token, nil, nil); err == nil {
		err = lost
	}
	return r, err
}

// book looks and writes under the token. The look is an operation too: from
// there on nobody with an earlier token can write, so what is seen then is
// still so at the write.
func book(e event, fence int64) (result, error) {
	var account struct {
		Invocations []string `json:"invocations"`
	}
	status, err := ledger(e, map[string]any{"fence": fence, "op": 1, "invocation": e.ID}, &account)
	if err != nil || status == http.StatusConflict {
		return result{Status: "refused"}, err
	}
	if slices.Contains(account.Invocations, e.ID) {
		return result{Status: "already"}, nil
	}
	status, err = ledger(e, map[string]any{"fence": fence, "op": 2, "invocation": e.ID, "amount": e.Amount}, nil)
	if err != nil || status == http.StatusConflict {
		return result{Status: "refused"}, err
	}
	return result{Status: "applied"}, nil
}

// ledger does one operation; 409: somebody with a later token has been there.
func ledger(e event, operation, into any) (int, error) {
	status, _, err := post(os.Getenv("LEDGER_URL")+"/accounts/"+e.Account, "", operation, into)
	if err == nil && status != http.StatusOK && status != http.StatusConflict {
		err = fmt.Errorf("the ledger says %d", status)
	}
	return status, err
}

// perch sends one request until a gateway answers it. Both requests above name
// a session, so sending them twice is the same as once.
func perch(path, session string, body, into any) (status int, code string, err error) {
	for range 11 {
		turn++
		status, code, err = post(gateways[turn%len(gateways)]+path, session, body, into)
		if err == nil && status < 500 && status != http.StatusTooManyRequests {
			return status, code, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return status, code, cmp.Or(err, fmt.Errorf("status %d of %s", status, path))
}

func post(url, session string, body, into any) (status int, code string, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, "", err
		}
	}
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	if session != "" {
		req.Header.Set("Perch-Session", session)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	if into != nil && resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(resp.Body).Decode(into)
	}
	return resp.StatusCode, resp.Header.Get("Perch-Code"), err
}
