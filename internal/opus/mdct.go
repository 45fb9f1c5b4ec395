package opus

import "math"

const (
	// overlap is how far frames, and the short blocks in them, overlap.
	overlap = 120
	// blocks is how many short blocks make a frame.
	blocks = 1 << scale
)

// transform is the MDCT of one size with the window of low overlap (RFC 6716 §4.3.7):
// folding, and a DCT-IV by a complex Fourier transform of half its size.
type transform struct {
	n       int // bins
	window  []float32
	twist   []complex64 // before and behind the Fourier transform
	fourier fourier
	folded  []float32
	a, b    []complex64
}

func newTransform(n int) *transform {
	t := &transform{
		n: n, window: window(), twist: make([]complex64, n/2), fourier: newFourier(n / 2),
		folded: make([]float32, n), a: make([]complex64, n/2), b: make([]complex64, n/2),
	}
	for i := range t.twist {
		t.twist[i] = root(8*i+1, 16*n)
	}
	return t
}

// root returns one of the n roots of one, clockwise.
func root(i, n int) complex64 {
	s, c := math.Sincos(-2 * math.Pi * float64(i) / float64(n))
	return complex(float32(c), float32(s))
}

// window is the rising half of the window: the power of it and its mirror is one.
func window() []float32 {
	w := make([]float32, overlap)
	for i := range w {
		s := math.Sin(math.Pi / 2 * (float64(i) + 0.5) / overlap)
		w[i] = float32(math.Sin(math.Pi / 2 * s * s))
	}
	return w
}

// forward transforms n+overlap samples to n bins, which it writes to every stride-th
// place of out.
func (t *transform) forward(in, out []float32, stride int) {
	t.fold(in)
	n := t.n
	for i := range t.a {
		t.a[i] = complex(t.folded[2*i], t.folded[n-1-2*i]) * t.twist[i]
	}
	gain := 2 / float32(n)
	for i, v := range t.fourier.run(t.a, t.b) {
		v *= t.twist[i]
		out[2*i*stride] = gain * real(v)
		out[(n-1-2*i)*stride] = -gain * imag(v)
	}
}

// fold windows the samples and folds their overlaps back into the n samples between the
// middles of the overlaps. The alias that this makes is what the neighbours cancel.
func (t *transform) fold(in []float32) {
	const mid = overlap / 2
	n, w, u := t.n, t.window, t.folded
	last := in[: n+mid : n+overlap]
	for i := range u {
		u[i] = -last[n+mid-1-i]
	}
	tail := in[n+mid : n+overlap]
	for d := range mid {
		u[d] = w[mid+d]*u[d] - w[mid-1-d]*tail[d]
		u[n-1-d] = w[mid+d]*u[n-1-d] + w[mid-1-d]*in[mid-1-d]
	}
}

// fourier is the complex Fourier transform of a size whose factors are 2 to 5.
type fourier struct {
	n       int
	factors []int
	roots   []complex64
}

func newFourier(n int) fourier {
	f := fourier{n: n, roots: make([]complex64, n)}
	for i := range f.roots {
		f.roots[i] = root(i, n)
	}
	for _, p := range []int{4, 2, 3, 5} {
		for ; n%p == 0; n /= p {
			f.factors = append(f.factors, p)
		}
	}
	return f
}

// run transforms x, with y as scratch, and returns the one of both that has the result.
// Each factor sorts as it goes (Stockham), so that nothing is shuffled.
func (f *fourier) run(x, y []complex64) []complex64 {
	stride, left := 1, f.n
	for _, p := range f.factors {
		left /= p
		for a := range left {
			from, to := x[stride*a:], y[stride*p*a:]
			turn := a * stride // of the roots
			switch p {
			case 2:
				f.two(from, to, stride, left*stride, turn)
			case 3:
				f.three(from, to, stride, left*stride, turn)
			case 4:
				f.four(from, to, stride, left*stride, turn)
			default:
				f.five(from, to, stride, left*stride, turn)
			}
		}
		stride *= p
		x, y = y, x
	}
	return x
}

// two and its fellows transform count columns of two numbers that are gap apart, and
// turn the results.
func (f *fourier) two(x, y []complex64, count, gap, turn int) {
	w := f.roots[turn]
	for i := range count {
		a, b := x[i], x[gap+i]
		y[i], y[count+i] = a+b, (a-b)*w
	}
}

func (f *fourier) three(x, y []complex64, count, gap, turn int) {
	const sin = 0.8660254037844386
	w1, w2 := f.roots[turn], f.roots[2*turn]
	for i := range count {
		a, b, c := x[i], x[gap+i], x[2*gap+i]
		sum, diff := b+c, b-c
		mid := complex(real(a)-real(sum)/2, imag(a)-imag(sum)/2)
		side := complex(sin*imag(diff), -sin*real(diff))
		y[i], y[count+i], y[2*count+i] = a+sum, (mid+side)*w1, (mid-side)*w2
	}
}

func (f *fourier) four(x, y []complex64, count, gap, turn int) {
	w1, w2, w3 := f.roots[turn], f.roots[2*turn], f.roots[3*turn]
	for i := range count {
		a, b, c, d := x[i], x[gap+i], x[2*gap+i], x[3*gap+i]
		s0, d0, s1, d1 := a+c, a-c, b+d, b-d
		d1 = complex(imag(d1), -real(d1))
		y[i], y[count+i] = s0+s1, (d0+d1)*w1
		y[2*count+i], y[3*count+i] = (s0-s1)*w2, (d0-d1)*w3
	}
}

func (f *fourier) five(x, y []complex64, count, gap, turn int) {
	const (
		c1, c2 = 0.30901699437494745, -0.8090169943749475
		s1, s2 = 0.9510565162951535, 0.5877852522924731
	)
	w1, w2, w3, w4 := f.roots[turn], f.roots[2*turn], f.roots[3*turn], f.roots[4*turn]
	for i := range count {
		a, b, c, d, e := x[i], x[gap+i], x[2*gap+i], x[3*gap+i], x[4*gap+i]
		p, q, r, s := b+e, c+d, b-e, c-d
		m1 := complex(real(a)+c1*real(p)+c2*real(q), imag(a)+c1*imag(p)+c2*imag(q))
		m2 := complex(real(a)+c2*real(p)+c1*real(q), imag(a)+c2*imag(p)+c1*imag(q))
		n1 := complex(s1*imag(r)+s2*imag(s), -s1*real(r)-s2*real(s))
		n2 := complex(s2*imag(r)-s1*imag(s), -s2*real(r)+s1*real(s))
		y[i] = a + p + q
		y[count+i], y[2*count+i] = (m1+n1)*w1, (m2+n2)*w2
		y[3*count+i], y[4*count+i] = (m2-n2)*w3, (m1-n1)*w4
	}
}
