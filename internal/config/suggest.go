package config

// Nearest returns the known word that word most likely stands for, or "".
func Nearest(word string, known []string) string { return nearest(word, known) }

// nearest returns the known word that word most likely stands for, or "".
func nearest(word string, known []string) string {
	best, limit := "", len(word)/3+1
	for _, k := range known {
		if d := distance(word, k); d <= limit && d < len(k) {
			best, limit = k, d-1
		}
	}
	return best
}

// distance is the number of single-character edits, swaps of neighbours among
// them, that make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
