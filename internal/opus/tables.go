package opus

// The tables below are facts of RFC 6716; none is ever written.

const (
	// bands is how many bands a frame has.
	bands = 21
	// scale is the logarithm of how many short blocks make a frame of 20 ms.
	scale = 3
	// unit is the logarithm of the parts of a bit in which bits are counted.
	unit = 3
)

// edges are the borders of the bands in bins of a short block (RFC 6716 Table 55).
var edges = [bands + 1]int{ //nolint:gochecknoglobals // a table of the standard
	0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 34, 40, 48, 60, 78, 100,
}

// width returns how many bins of a short block a band has.
func width(band int) int { return edges[band+1] - edges[band] }

// means are subtracted from the logarithms of energies (RFC 6716 §4.3.2.1).
var means = [bands]float32{ //nolint:gochecknoglobals // a table of the standard
	6.4375, 6.25, 5.75, 5.3125, 5.0625, 4.8125, 4.5, 4.375, 4.875, 4.6875, 4.5625,
	4.4375, 4.875, 4.625, 4.3125, 4.5, 4.375, 4.625, 4.75, 4.4375, 3.75,
}

// models are the Laplace distributions of coarse energy for frames of 20 ms, predicted
// from the frame before and not: the frequency of zero and the decay of each band.
var models = [2][bands][2]uint8{ //nolint:gochecknoglobals // a table of the standard
	{
		{42, 121},
		{96, 66},
		{108, 43},
		{111, 40},
		{117, 44},
		{123, 32},
		{120, 36},
		{119, 33},
		{127, 33},
		{134, 34},
		{139, 21},
		{147, 23},
		{152, 20},
		{158, 25},
		{154, 26},
		{166, 21},
		{173, 16},
		{184, 13},
		{184, 10},
		{150, 13},
		{139, 15},
	},
	{
		{22, 178},
		{63, 114},
		{74, 82},
		{84, 83},
		{92, 82},
		{103, 62},
		{96, 72},
		{96, 67},
		{101, 73},
		{107, 72},
		{113, 55},
		{118, 52},
		{125, 52},
		{118, 52},
		{117, 55},
		{135, 49},
		{137, 39},
		{157, 32},
		{145, 29},
		{97, 33},
		{77, 40},
	},
}

// vectors are the static allocations in 32nds of a bit a bin (RFC 6716 Table 57).
var vectors = [11][bands]uint8{ //nolint:gochecknoglobals // a table of the standard
	{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	{90, 80, 75, 69, 63, 56, 49, 40, 34, 29, 20, 18, 10, 0, 0, 0, 0, 0, 0, 0, 0},
	{110, 100, 90, 84, 78, 71, 65, 58, 51, 45, 39, 32, 26, 20, 12, 0, 0, 0, 0, 0, 0},
	{118, 110, 103, 93, 86, 80, 75, 70, 65, 59, 53, 47, 40, 31, 23, 15, 4, 0, 0, 0, 0},
	{126, 119, 112, 104, 95, 89, 83, 78, 72, 66, 60, 54, 47, 39, 32, 25, 17, 12, 1, 0, 0},
	{134, 127, 120, 114, 103, 97, 91, 85, 78, 72, 66, 60, 54, 47, 41, 35, 29, 23, 16, 10, 1},
	{144, 137, 130, 124, 113, 107, 101, 95, 88, 82, 76, 70, 64, 57, 51, 45, 39, 33, 26, 15, 1},
	{152, 145, 138, 132, 123, 117, 111, 105, 98, 92, 86, 80, 74, 67, 61, 55, 49, 43, 36, 20, 1},
	{162, 155, 148, 142, 133, 127, 121, 115, 108, 102, 96, 90, 84, 77, 71, 65, 59, 53, 46, 30, 1},
	{172, 165, 158, 152, 143, 137, 131, 125, 118, 112, 106, 100, 94, 87, 81, 75, 69, 63, 56, 45, 20},
	{200, 200, 200, 200, 200, 200, 200, 200, 198, 193, 188, 183, 178, 173, 168, 163, 158, 153, 148, 129, 104},
}

// caps say how many bits a band can use, for frames of 20 ms, mono and stereo.
var caps = [2][bands]uint8{ //nolint:gochecknoglobals // a table of the standard
	{193, 193, 193, 193, 193, 193, 193, 193, 193, 193, 193, 193, 194, 194, 194, 184, 184, 173, 139, 65, 39},
	{204, 204, 204, 204, 204, 204, 204, 204, 201, 201, 201, 201, 198, 198, 198, 187, 187, 175, 140, 66, 40},
}

// logWidths are the logarithms of the widths, in eighths.
var logWidths = [bands]int{ //nolint:gochecknoglobals // a table of the standard
	0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 16, 16, 16, 21, 21, 24, 29, 34, 36,
}

// logs are the logarithms of 1 to 24, in eighths, rounded up.
var logs = [24]int{ //nolint:gochecknoglobals // a table of the standard
	0, 8, 13, 16, 19, 21, 23, 24, 26, 27, 28, 29, 30, 31, 32, 32, 33, 34, 34, 35, 36, 36, 37, 37,
}

// Cumulative frequencies of small choices (RFC 6716 Table 56).
var (
	smallTable  = []uint8{2, 3, 4}                                      //nolint:gochecknoglobals // a table of the standard
	spreadTable = []uint8{7, 9, 30, 32}                                 //nolint:gochecknoglobals // a table of the standard
	trimTable   = []uint8{2, 4, 9, 19, 41, 87, 109, 119, 124, 126, 128} //nolint:gochecknoglobals // a table of the standard
)

// costIndex says where in costs the costs of a band begin, for each size that splitting
// leaves of it: half a bin of a short block to the bins of a frame.
var costIndex = [scale + 2][bands]int16{ //nolint:gochecknoglobals // a table of the standard
	{-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 41, 41, 41, 82, 82, 123, 164, 200, 222},
	{0, 0, 0, 0, 0, 0, 0, 0, 41, 41, 41, 41, 123, 123, 123, 164, 164, 240, 266, 283, 295},
	{41, 41, 41, 41, 41, 41, 41, 41, 123, 123, 123, 123, 240, 240, 240, 266, 266, 305, 318, 328, 336},
	{123, 123, 123, 123, 123, 123, 123, 123, 240, 240, 240, 240, 305, 305, 305, 318, 318, 343, 351, 358, 364},
	{240, 240, 240, 240, 240, 240, 240, 240, 305, 305, 305, 305, 343, 343, 343, 351, 351, 370, 376, 382, 387},
}

// costs are lists: how many entries follow, and what each number of pulses costs in
// eighths of a bit, less one (RFC 6716 §4.3.4.1).
var costs = [392]uint8{ //nolint:gochecknoglobals // a table of the standard
	40, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 40, 15, 23, 28,
	31, 34, 36, 38, 39, 41, 42, 43, 44, 45, 46, 47, 47, 49, 50,
	51, 52, 53, 54, 55, 55, 57, 58, 59, 60, 61, 62, 63, 63, 65,
	66, 67, 68, 69, 70, 71, 71, 40, 20, 33, 41, 48, 53, 57, 61,
	64, 66, 69, 71, 73, 75, 76, 78, 80, 82, 85, 87, 89, 91, 92,
	94, 96, 98, 101, 103, 105, 107, 108, 110, 112, 114, 117, 119, 121, 123,
	124, 126, 128, 40, 23, 39, 51, 60, 67, 73, 79, 83, 87, 91, 94,
	97, 100, 102, 105, 107, 111, 115, 118, 121, 124, 126, 129, 131, 135, 139,
	142, 145, 148, 150, 153, 155, 159, 163, 166, 169, 172, 174, 177, 179, 35,
	28, 49, 65, 78, 89, 99, 107, 114, 120, 126, 132, 136, 141, 145, 149,
	153, 159, 165, 171, 176, 180, 185, 189, 192, 199, 205, 211, 216, 220, 225,
	229, 232, 239, 245, 251, 21, 33, 58, 79, 97, 112, 125, 137, 148, 157,
	166, 174, 182, 189, 195, 201, 207, 217, 227, 235, 243, 251, 17, 35, 63,
	86, 106, 123, 139, 152, 165, 177, 187, 197, 206, 214, 222, 230, 237, 250,
	25, 31, 55, 75, 91, 105, 117, 128, 138, 146, 154, 161, 168, 174, 180,
	185, 190, 200, 208, 215, 222, 229, 235, 240, 245, 255, 16, 36, 65, 89,
	110, 128, 144, 159, 173, 185, 196, 207, 217, 226, 234, 242, 250, 11, 41,
	74, 103, 128, 151, 172, 191, 209, 225, 241, 255, 9, 43, 79, 110, 138,
	163, 186, 207, 227, 246, 12, 39, 71, 99, 123, 144, 164, 182, 198, 214,
	228, 241, 253, 9, 44, 81, 113, 142, 168, 192, 214, 235, 255, 7, 49,
	90, 127, 160, 191, 220, 247, 6, 51, 95, 134, 170, 203, 234, 7, 47,
	87, 123, 155, 184, 212, 237, 6, 52, 97, 137, 174, 208, 240, 5, 57,
	106, 151, 192, 231, 5, 59, 111, 158, 202, 243, 5, 55, 103, 147, 187,
	224, 5, 60, 113, 161, 206, 248, 4, 65, 122, 175, 224, 4, 67, 127,
	182, 234,
}
