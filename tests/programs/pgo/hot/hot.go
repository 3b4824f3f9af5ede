// Package hot spends its time in one call that the compiler inlines only if a profile shows that it is hot. It imports
// nothing, so that a build with a profile rebuilds no other package.
package hot

// Mix takes nearly all of the time. Its cost exceeds the compiler's default budget for inlining.
func Mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 29
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 32
	x = x<<7 | x>>57
	x *= 0x9e3779b97f4a7c15
	x ^= x >> 27
	x = x<<11 | x>>53
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	x += x<<3 ^ x>>5
	x *= 0xd6e8feb86659fd93
	x ^= x >> 28
	x -= x<<9 ^ x>>3
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 26
	return x
}

// Spin calls Mix n times.
func Spin(n int) uint64 {
	sum := uint64(1)
	for range n {
		sum += Mix(sum)
	}
	return sum
}
