package group

import (
	"reflect"
	"testing"

	"github.com/gregorhq/gregor/internal/metadata"
)

// TestGroupsKeepNoMetadataImage: a group that nobody is in any more may stay for days, and
// would keep the whole metadata of its last heartbeat alive.
func TestGroupsKeepNoMetadataImage(t *testing.T) {
	image := reflect.TypeFor[metadata.Image]()
	for _, kind := range []reflect.Type{reflect.TypeFor[consumerGroup](), reflect.TypeFor[classicGroup]()} {
		seen := map[reflect.Type]bool{}
		var look func(ty reflect.Type, path string)
		look = func(ty reflect.Type, path string) {
			if seen[ty] {
				return
			}
			seen[ty] = true
			if ty == image {
				t.Errorf("%s holds an image", path)
				return
			}
			switch ty.Kind() {
			case reflect.Pointer, reflect.Slice, reflect.Array:
				look(ty.Elem(), path)
			case reflect.Map:
				look(ty.Key(), path)
				look(ty.Elem(), path)
			case reflect.Struct:
				for i := range ty.NumField() {
					look(ty.Field(i).Type, path+"."+ty.Field(i).Name)
				}
			}
		}
		look(kind, kind.Name())
	}
}
