package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	attempts = 11 // the first and ten retries
	minDelay = 50 * time.Millisecond
	maxDelay = time.Second
)

type label struct{ key, value string }

// agent sends profiles as profefe's Go agent does: the same requests and the same retries.
type agent struct {
	collector string
	service   string
	labels    []label
}

// errFinal is a response that must not be retried.
var errFinal = errors.New("the collector rejected the profile")

// send posts a profile and returns the collector's response. It retries network errors and 5xx responses with the
// same bytes; 4xx responses are final.
func (a *agent) send(profileType string, profile []byte) (response []byte, err error) {
	query := url.Values{}
	query.Set("service", a.service)
	query.Set("type", profileType)
	query.Set("labels", a.formatLabels())
	address := strings.TrimRight(a.collector, "/") + "/api/0/profiles?" + query.Encode()
	delay := minDelay
	for range attempts {
		response, err = post(address, profile)
		if err == nil || errors.Is(err, errFinal) {
			return response, err
		}
		time.Sleep(delay)
		delay = min(2*delay, maxDelay)
	}
	return nil, err
}

// formatLabels escapes keys and values; the query escapes them a second time.
func (a *agent) formatLabels() string {
	items := make([]string, len(a.labels))
	for i, l := range a.labels {
		items[i] = url.QueryEscape(l.key) + "=" + url.QueryEscape(l.value)
	}
	return strings.Join(items, ",")
}

func post(address string, profile []byte) ([]byte, error) {
	response, err := http.Post(address, "application/octet-stream", bytes.NewReader(profile))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case response.StatusCode >= 500:
		return nil, fmt.Errorf("the collector failed with %s: %s", response.Status, body)
	case response.StatusCode >= 400:
		return nil, fmt.Errorf("%w with %s: %s", errFinal, response.Status, body)
	case err != nil:
		return nil, err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return nil, fmt.Errorf("the collector's response is not JSON: %w: %s", err, body)
	}
	return line.Bytes(), nil
}
