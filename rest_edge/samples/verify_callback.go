// Verifies a callback: standard input has its headers, an empty line and the body, byte for byte.
// Needs NOVAPAY_NOTIFY_SECRET. Exit status 0: genuine. One of the two formats is enough for a shop.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const tolerance = 300 * time.Second

func verifyNovapay(headers http.Header, body []byte, secret string) bool {
	timestamp := headers.Get("x-novapay-timestamp")
	at, err := time.Parse(time.RFC3339, timestamp)
	expected := hex.EncodeToString(sum([]byte(secret), timestamp+".", body))
	return err == nil && isFresh(at) && hmac.Equal([]byte(expected), []byte(headers.Get("x-novapay-signature")))
}

func verifyStandardWebhooks(headers http.Header, body []byte, secret string) bool {
	timestamp := headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || !isFresh(time.Unix(seconds, 0)) {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	digest := sum(key, headers.Get("webhook-id")+"."+timestamp+".", body)
	expected := []byte("v1," + base64.StdEncoding.EncodeToString(digest))
	// The header may have several signatures, while a secret is being replaced.
	for _, given := range strings.Fields(headers.Get("webhook-signature")) {
		if hmac.Equal(expected, []byte(given)) {
			return true
		}
	}
	return false
}

func sum(key []byte, head string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(head))
	mac.Write(body)
	return mac.Sum(nil)
}

func isFresh(at time.Time) bool {
	return time.Since(at).Abs() < tolerance
}

func main() {
	request, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	head, body, _ := bytes.Cut(request, []byte("\n\n"))
	headers := http.Header{}
	for _, line := range strings.Split(string(head), "\n") {
		name, value, _ := strings.Cut(line, ":")
		headers.Set(name, strings.TrimSpace(value))
	}
	secret := os.Getenv("NOVAPAY_NOTIFY_SECRET")
	if verifyNovapay(headers, body, secret) && verifyStandardWebhooks(headers, body, secret) {
		fmt.Println("genuine")
		return
	}
	fmt.Println("refused")
	os.Exit(1)
}
