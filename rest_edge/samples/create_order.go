// Signs and sends one request: go run create_order.go. Needs NOVAPAY_BASE, NOVAPAY_MERCHANT, NOVAPAY_KEY, NOVAPAY_SECRET.
package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

func post(path string, fields map[string]any, idempotencyKey string) (*http.Response, error) {
	fields["merchantCode"] = os.Getenv("NOVAPAY_MERCHANT")
	body, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	timestamp, nonce := strconv.FormatInt(time.Now().Unix(), 10), random()
	mac := hmac.New(sha256.New, []byte(os.Getenv("NOVAPAY_SECRET")))
	mac.Write([]byte(timestamp + "." + nonce + "."))
	mac.Write(body)
	// The bytes that were signed are the bytes that are sent.
	request, err := http.NewRequest("POST", os.Getenv("NOVAPAY_BASE")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("x-novapay-key", os.Getenv("NOVAPAY_KEY"))
	request.Header.Set("x-novapay-timestamp", timestamp)
	request.Header.Set("x-novapay-nonce", nonce)
	request.Header.Set("x-novapay-signature", hex.EncodeToString(mac.Sum(nil)))
	request.Header.Set("Idempotency-Key", idempotencyKey)
	request.Header.Set("Content-Type", "application/json")
	return (&http.Client{Timeout: 30 * time.Second}).Do(request)
}

func random() string {
	buffer := make([]byte, 12)
	if _, err := rand.Read(buffer); err != nil {
		panic(err)
	}
	return hex.EncodeToString(buffer)
}

func main() {
	order := "shop-" + random()
	answer, err := post("/api/payment-orders", map[string]any{
		"channelCode":     "alipay.page",
		"externalOrderId": order,
		"amount":          "88.10",
		"subject":         "年度会员",
	}, order)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	io.Copy(os.Stdout, answer.Body)
	if answer.StatusCode != http.StatusOK {
		os.Exit(1)
	}
}
