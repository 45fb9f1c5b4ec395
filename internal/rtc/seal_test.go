package rtc

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/pion/dtls/v3"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestSealVector is RFC 7714 §16.1.1.
func TestSealVector(t *testing.T) {
	s, err := sessionSeal(unhex(t, "00010203 04050607 08090a0b 0c0d0e0f"), unhex(t, "51756964 2070726f 2071756f"))
	if err != nil {
		t.Fatal(err)
	}
	packet := unhex(t, "8040f17b 8041f8d3 5501a0b2")
	var nonce [saltSize]byte
	s.nonce(&nonce, 0x5501a0b2, 0xf17b)
	if got := hex.EncodeToString(nonce[:]); got != "51753c6580c2726f20718414" {
		t.Errorf("nonce %s", got)
	}
	sealed := s.aead.Seal(packet, nonce[:], []byte("Gallia est omnis divisa in partes tres"), packet)
	want := "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
	if got := hex.EncodeToString(sealed); got != want {
		t.Errorf("sealed %s", got)
	}
}

// TestNonce is RFC 7714 §8.1, byte for byte, with rollover counters of any size.
func TestNonce(t *testing.T) {
	salt := unhex(t, "51756964 2070726f 2071756f")
	s, err := sessionSeal(make([]byte, keySize), salt)
	if err != nil {
		t.Fatal(err)
	}
	for _, counter := range []uint32{0, 1, 0xffff, 0x10000, 0x89abcdef, 0xffffffff} {
		for _, sequence := range []uint16{0, 1, 0xf17b, 0xffff} {
			want := binary.BigEndian.AppendUint32([]byte{0, 0}, 0xdeadbeef)
			want = binary.BigEndian.AppendUint32(want, counter)
			want = binary.BigEndian.AppendUint16(want, sequence)
			for i := range want {
				want[i] ^= salt[i]
			}
			var got [saltSize]byte
			if s.nonce(&got, 0xdeadbeef, int64(counter)<<16|int64(sequence)); !bytes.Equal(got[:], want) {
				t.Errorf("counter %x, number %x: %x, want %x", counter, sequence, got, want)
			}
		}
	}
}

// TestDerive is RFC 3711 §B.3.
func TestDerive(t *testing.T) {
	master, err := aes.NewCipher(unhex(t, "E1F97A0D3E018BE0D64FA32C06DE4139"))
	if err != nil {
		t.Fatal(err)
	}
	salt := unhex(t, "0EC675AD498AFEEBB6960B3AABE6")
	if got := derive(master, salt, 0); !bytes.Equal(got, unhex(t, "C61E7A93744F39EE10734AFE3FF7A087")) {
		t.Errorf("key %X", got)
	}
	if got := derive(master, salt, 2); !bytes.Equal(got[:14], unhex(t, "30CBBC08863D8C85D49DB34A9AE1")) {
		t.Errorf("salt %X", got)
	}
}

func TestOrder(t *testing.T) {
	type step struct {
		sequence uint16
		own      bool
		index    int64
		pion, ok bool
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"the first one goes to Pion", []step{{10, true, 10, true, true}, {11, true, 11, false, true}}},
		{"wrap", []step{{65535, true, 65535, true, true}, {0, true, 65536, false, true}, {65535, true, 65535, false, true}, {1, true, 65537, false, true}}},
		{"late ones keep their place", []step{{100, true, 100, true, true}, {103, true, 103, false, true}, {101, true, 101, false, true}, {104, true, 104, false, true}}},
		{"before the first wrap", []step{{2, true, 2, true, true}, {65534, true, -2, false, false}, {3, true, 3, false, true}}},
		{"in step", []step{{0, true, 0, true, true}, {4095, true, 4095, false, true}, {4096, true, 4096, true, true}, {4097, true, 4097, false, true}}},
		{"Pion for all", []step{{0, false, 0, true, true}, {4095, false, 4095, true, true}, {4097, true, 4097, false, true}}},
		{"a late one does not take Pion back", []step{{5000, true, 5000, true, true}, {9000, false, 9000, true, true}, {8000, false, 8000, true, true}, {13000, true, 13000, false, true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o order
			for i, s := range tt.steps {
				index, ok := o.place(s.sequence)
				pion := !s.own || o.due(index)
				if ok && pion {
					o.tell(index)
				}
				if index != s.index || pion != s.pion || ok != s.ok {
					t.Errorf("step %d: index %d, Pion %v, %v; want %+v", i, index, pion, ok, s)
				}
			}
		})
	}
}

// TestSecrets: without all that makes keys, there are none.
func TestSecrets(t *testing.T) {
	whole := func() *secrets {
		return &secrets{
			client: make([]byte, 32), server: make([]byte, 32), master: make([]byte, 48),
			suite: dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, profile: dtls.SRTP_AEAD_AES_128_GCM,
		}
	}
	if _, err := whole().seal(); err != nil {
		t.Errorf("whole: %v", err)
	}
	for name, spoil := range map[string]func(*secrets){
		"another profile": func(s *secrets) { s.profile = dtls.SRTP_AES128_CM_HMAC_SHA1_80 },
		"another suite":   func(s *secrets) { s.suite = 1 },
		"no hello":        func(s *secrets) { s.server = nil },
		"no key log":      func(s *secrets) { s.master = nil },
	} {
		s := whole()
		spoil(s)
		if _, err := s.seal(); !errors.Is(err, errNotOurs) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var s secrets
	for _, line := range []string{"", "CLIENT_RANDOM", "CLIENT_RANDOM 00 zz\n", "SERVER_TRAFFIC_SECRET_0 00 11\n"} {
		if n, err := s.Write([]byte(line)); n != len(line) || err != nil || s.master != nil {
			t.Errorf("%q: %d, %v, %x", line, n, err, s.master)
		}
	}
	if _, err := s.Write([]byte("CLIENT_RANDOM 0011 22\n")); err != nil || s.master[0] != 0x22 || s.client[1] != 0x11 {
		t.Errorf("%x %x %v", s.client, s.master, err)
	}
}

func TestRefusal(t *testing.T) {
	for err, want := range map[error]refusals{
		nil: noRefusal, syscall.EIO: refusedByDevice, syscall.EOPNOTSUPP: refusedByDevice,
		syscall.EINVAL: refusedOnPath, syscall.EMSGSIZE: refusedOnPath, syscall.ENOBUFS: noRefusal,
	} {
		if got := refusal(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
