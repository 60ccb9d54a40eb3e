package protocol

import (
	"testing"
	"testing/synctest"
	"time"
)

type beats int

func (n *beats) InProgress() error {
	*n++
	return nil
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n beats
		stop := KeepAlive(&n, 10*time.Second)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if n != 3 {
			t.Errorf("%d signs of life in 35 s, want one every 10 s", n)
		}
		stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n != 3 {
			t.Errorf("%d signs of life after the end", n-3)
		}
	})
}
