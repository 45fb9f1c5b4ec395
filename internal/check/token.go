package check

import (
	"fmt"
	"strings"
)

// enough is how many characters of a random token nobody guesses: 80 bits, if
// they are letters and digits.
const enough = 16

// Token says whether a token that people chose is hard to guess. It does not
// show it.
func Token(name, token string) Finding {
	lower := strings.ToLower(token)
	switch {
	case distinct(lower) < 5:
		return Finding{name, Warning, "the token has very few different characters: it can be guessed", "leave it empty to have one made, or take one from openssl rand -hex 16"}
	case len(token) < enough:
		return Finding{name, Warning, fmt.Sprintf("the token has %d characters: it can be guessed", len(token)), "leave it empty to have one made, or take one from openssl rand -hex 16"}
	case usual(lower):
		return Finding{name, Warning, "the token begins as examples do: it can be guessed", "leave it empty to have one made, or take one from openssl rand -hex 16"}
	}
	return Finding{Name: name, Cause: fmt.Sprintf("a token of %d characters", len(token))}
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// usual says whether a token is made of a word that every attacker tries first.
func usual(lower string) bool {
	for _, word := range []string{"password", "changeme", "change-me", "change_me", "secret", "whipcast", "test", "example", "token", "publish", "12345", "qwert"} {
		if strings.HasPrefix(lower, word) {
			return true
		}
	}
	return false
}
