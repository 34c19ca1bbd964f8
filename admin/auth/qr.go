package auth

import (
	"fmt"

	"github.com/boombuler/barcode/qr"

	"github.com/keystile/keystile/policy"
)

// QRCode is the QR code of an authenticator app's URL: rows of dark (true) and light squares, without the quiet zone of four
// squares that belongs around it.
func QRCode(url policy.Token) ([][]bool, error) {
	code, err := qr.Encode(url.Reveal(), qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("drawing a QR code: %w", err)
	}
	bounds := code.Bounds()
	rows := make([][]bool, bounds.Dy())
	for y := range rows {
		rows[y] = make([]bool, bounds.Dx())
		for x := range rows[y] {
			r, _, _, _ := code.At(bounds.Min.X+x, bounds.Min.Y+y).RGBA()
			rows[y][x] = r < 0x8000
		}
	}
	return rows, nil
}
