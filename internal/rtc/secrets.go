package rtc

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
)

// Sizes of AEAD_AES_128_GCM (RFC 7714 §12).
const (
	keySize  = 16
	saltSize = 12
	tagSize  = 16
)

// errNotOurs says that the keys of a connection are left to Pion: it is not
// AES-128-GCM, or the handshake was another than we know.
var errNotOurs = errors.New("the connection's SRTP keys are left to Pion")

// secrets learns from a DTLS handshake of which we are the server what its SRTP
// keys are made of. Pion gives keying material to nobody, but tells the
// handshake's hello and, in the form of NSS key logs, its master secret.
type secrets struct {
	mu      sync.Mutex
	client  []byte // below mu, as all that follows: the client's random
	master  []byte
	server  []byte // our random
	suite   dtls.CipherSuiteID
	profile dtls.SRTPProtectionProfile
}

// hello notes what our ServerHello says. It changes nothing.
func (s *secrets) hello(m handshake.MessageServerHello) handshake.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	random := m.Random.MarshalFixed()
	s.server = random[:]
	if m.CipherSuiteID != nil {
		s.suite = dtls.CipherSuiteID(*m.CipherSuiteID)
	}
	for _, e := range m.Extensions {
		if srtp, ok := e.(*extension.UseSRTP); ok && len(srtp.ProtectionProfiles) == 1 {
			s.profile = srtp.ProtectionProfiles[0]
		}
	}
	return &m
}

// Write takes a line of the key log: CLIENT_RANDOM, the client's random and the
// master secret. Other lines are left out. It never fails.
func (s *secrets) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 || string(fields[0]) != "CLIENT_RANDOM" {
		return len(line), nil
	}
	client, err1 := hex.DecodeString(string(fields[1]))
	master, err2 := hex.DecodeString(string(fields[2]))
	if err1 == nil && err2 == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.client, s.master = client, master
	}
	return len(line), nil
}

// seal returns what seals our packets (RFC 5764 §4.2), and forgets the secrets.
// Call it once the handshake is done.
func (s *secrets) seal() (*seal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer clear(s.master)
	sum, known := hashOf(s.suite)
	if !known || s.profile != dtls.SRTP_AEAD_AES_128_GCM || len(s.master) == 0 || len(s.server) == 0 {
		return nil, errNotOurs
	}
	seed := append([]byte("EXTRACTOR-dtls_srtp"), s.client...)
	seed = append(seed, s.server...)
	material, err := prf.PHash(s.master, seed, 2*keySize+2*saltSize, sum)
	if err != nil {
		return nil, fmt.Errorf("export SRTP keys: %w", err)
	}
	// The client's key, ours, the client's salt, ours.
	return newSeal(material[keySize:2*keySize], material[2*keySize+saltSize:])
}

// hashOf returns the hash of a cipher suite's PRF (RFC 5246 §5).
func hashOf(id dtls.CipherSuiteID) (func() hash.Hash, bool) {
	switch id {
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return sha256.New, true
	case dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:
		return sha512.New384, true
	default:
		return nil, false
	}
}

// seal seals RTP packets of one connection by AEAD_AES_128_GCM (RFC 7714). It is
// immutable: any number of goroutines may use it.
type seal struct {
	aead  cipher.AEAD
	first uint64 // eight bytes of the salt
	last  uint32 // and the other four
}

// newSeal derives the session key and salt from the master's (RFC 3711 §4.3.1).
func newSeal(key, salt []byte) (*seal, error) {
	master, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("take SRTP key: %w", err)
	}
	const encryption, salting = 0, 2 // labels
	return sessionSeal(derive(master, salt, encryption)[:keySize], derive(master, salt, salting)[:saltSize])
}

func sessionSeal(key, salt []byte) (*seal, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("take SRTP key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("take SRTP key: %w", err)
	}
	return &seal{aead: aead, first: binary.BigEndian.Uint64(salt), last: binary.BigEndian.Uint32(salt[8:])}, nil
}

// derive returns one block of the key derivation: as much as any of our keys needs.
func derive(master cipher.Block, salt []byte, label byte) []byte {
	var in, out [aes.BlockSize]byte
	copy(in[:], salt)
	in[7] ^= label
	master.Encrypt(out[:], in[:])
	return out[:]
}

// nonce writes the one of a packet (RFC 7714 §8.1): two zeros, SSRC, rollover counter
// and sequence number, over the salt. index is the last two of these.
func (s *seal) nonce(to *[saltSize]byte, ssrc uint32, index int64) {
	binary.BigEndian.PutUint64(to[:], s.first^(uint64(ssrc)<<16|uint64(index)>>32&0xffff))
	binary.BigEndian.PutUint32(to[8:], s.last^uint32(index))
}
