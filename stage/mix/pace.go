package mix

const (
	// leastMoved is how long a packet is at least that is made longer or shorter.
	leastMoved = rate / 100
	// leastSlack and mostSlack bound by how much packets should come before they are
	// played, at worst: between 5 and 45 ms.
	leastSlack = rate * 5 / 1000
	mostSlack  = rate * 45 / 1000
	// mostMove is by how much the play position moves at a time, and hurry how wrong it
	// must be to move with each packet. Otherwise it rests for some.
	mostMove = rate * 10 / 1000
	hurry    = rate * 100 / 1000
	rest     = 10
	// blockPackets is how many packets a block has whose least slack counts; the blocks
	// are what is remembered.
	blockPackets = 25
	blockCount   = 8
)

// pace decides when the play position of a seat has to move, because the seat's clock
// runs off or the network has become faster.
type pace struct {
	least [blockCount]int64 // slack of the newest blocks
	full  int               // blocks that count
	now   int64             // least slack of the block that fills
	count int               // packets in it
	wait  int               // packets until the next move
}

// saw takes the slack of a packet: how long before its time it came.
func (p *pace) saw(slack int64) {
	if p.count == 0 || slack < p.now {
		p.now = slack
	}
	if p.count++; p.count < blockPackets {
		return
	}
	copy(p.least[1:], p.least[:])
	p.least[0] = p.now
	p.full = min(p.full+1, blockCount)
	p.count = 0
}

// due returns by how many samples a packet should become longer, or shorter if they
// are negative, when it has n.
func (p *pace) due(n int) int {
	if p.full == 0 || n < leastMoved {
		return 0
	}
	worst := p.least[0]
	for _, s := range p.least[:p.full] {
		worst = min(worst, s)
	}
	if p.count > 0 {
		worst = min(worst, p.now)
	}
	wrong := int64(0)
	switch {
	case worst < leastSlack:
		wrong = leastSlack - worst
	case worst > mostSlack:
		wrong = mostSlack - worst
	}
	if p.wait--; wrong == 0 || p.wait > 0 && wrong < hurry && wrong > -hurry {
		return 0
	}
	p.wait = rest
	// Beyond the bound by as much as is worth a splice.
	if wrong > 0 {
		return int(min(wrong+leastSlack, mostMove))
	}
	return int(max(wrong-leastSlack, -mostMove))
}

// moved takes by how much a packet became longer.
func (p *pace) moved(n int) {
	for i := range p.least {
		p.least[i] += int64(n)
	}
	p.now += int64(n)
}
