package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"perch/cmd/internal/exit"
)

// pages asks for a list, page after page, and hands each item of field to each:
// as it came, and decoded.
func pages[T any](ctx context.Context, c *conn, field string, get func(ctx context.Context, page *string) (*http.Response, error), each func(json.RawMessage, T) error) error {
	for next := (*string)(nil); ; {
		var page map[string]json.RawMessage
		if _, err := c.ask(ctx, &page, func(ctx context.Context) (*http.Response, error) { return get(ctx, next) }); err != nil {
			return err
		}
		var items []json.RawMessage
		if err := json.Unmarshal(page[field], &items); err != nil {
			return fmt.Errorf("the answer has no list of %s: %w", field, err)
		}
		for _, raw := range items {
			var item T
			if err := json.Unmarshal(raw, &item); err != nil {
				return err
			}
			if err := each(raw, item); err != nil {
				return err
			}
		}
		next = nil
		if err := json.Unmarshal(orNull(page["next_page_token"]), &next); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
	}
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

// list shows all items of a list in pages: as one JSON array, or as a table.
func list[T any](ctx context.Context, c *conn, field string, get func(ctx context.Context, page *string) (*http.Response, error), heads []string, row func(T) []string) error {
	whole, rows := []json.RawMessage{}, [][]string{}
	err := pages(ctx, c, field, get, func(raw json.RawMessage, item T) error {
		if c.asJSON {
			whole = append(whole, raw)
		} else {
			rows = append(rows, row(item))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.jsonList(whole)
	}
	return c.table(heads, rows)
}

// jsonList prints an array whose items are as they came, one a line.
func (p *printer) jsonList(items []json.RawMessage) error {
	text, err := json.Marshal(items)
	if err != nil {
		return err
	}
	return p.json(text)
}

// names lists the names of a kind of primitive, one a line.
func names(ctx context.Context, c *conn, get func(ctx context.Context, page *string) (*http.Response, error)) error {
	whole := []json.RawMessage{}
	err := pages(ctx, c, "names", get, func(raw json.RawMessage, name string) error {
		whole = append(whole, raw)
		if c.asJSON {
			return nil
		}
		return c.line("%s", name)
	})
	if err != nil || !c.asJSON {
		return err
	}
	return c.jsonList(whole)
}

// errEnough ends a list before its end.
var errEnough = errors.New("enough")

// notObtained is the end of a command that did its work and found nothing.
func notObtained(format string, args ...any) error {
	return &exit.Error{Code: exit.NotObtained, Err: fmt.Errorf(format, args...)}
}
