package dashboard

import "strings"

// exampleAddress stands in examples where nobody said which request works.
const exampleAddress = "https://api.example.com/v1/charges"

// example is a program that makes one request.
type example struct{ Name, Code string }

// examples are they, in the languages that most clients are written in, without any library. ADDRESS and TOKEN hold no
// character that these languages read in another way: the one is a URL from the configuration, the other base62.
func examples(address, token string) []example {
	fill := strings.NewReplacer("ADDRESS", address, "TOKEN", token)
	var out []example
	for _, e := range exampleTexts {
		out = append(out, example{e.Name, fill.Replace(strings.TrimSpace(e.Code))})
	}
	return out
}

var exampleTexts = []example{
	{"curl", `curl ADDRESS -u TOKEN:`},
	{"Node", `
const response = await fetch("ADDRESS", {
  headers: { Authorization: "Bearer TOKEN" },
});
console.log(await response.json());`},
	{"Python", `
import urllib.request

request = urllib.request.Request("ADDRESS",
    headers={"Authorization": "Bearer TOKEN"})
print(urllib.request.urlopen(request).read().decode())`},
	{"Go", `
package main

import (
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	request, err := http.NewRequest("GET", "ADDRESS", nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer TOKEN")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
}`},
	{"PHP", `
<?php
$request = curl_init("ADDRESS");
curl_setopt($request, CURLOPT_HTTPHEADER, ["Authorization: Bearer TOKEN"]);
curl_exec($request);`},
	{"Ruby", `
require "net/http"

puts Net::HTTP.get(URI("ADDRESS"), { "Authorization" => "Bearer TOKEN" })`},
}
