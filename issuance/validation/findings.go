package validation

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxFindings bounds an answer: whoever made more mistakes is told the first ones.
const maxFindings = 16

// maxQuoted is how many bytes of a wrong value are quoted.
const maxQuoted = 200

// findings collects what is wrong below one path. Nothing is allocated while nothing is wrong: paths are built for errors only.
type findings struct {
	base *field.Path
	list field.ErrorList
}

// at returns the path below base: a string is a field, an int an index, a mapKey a key.
func (f *findings) at(steps []any) *field.Path {
	p := f.base
	for _, step := range steps {
		switch s := step.(type) {
		case int:
			p = p.Index(s)
		case mapKey:
			p = p.Key(quotable(string(s)))
		case string:
			p = p.Child(s)
		}
	}
	return p
}

// mapKey is a step of a path: the key of a map.
type mapKey string

func (f *findings) add(e *field.Error) {
	switch {
	case len(f.list) < maxFindings:
		f.list = append(f.list, e)
	case len(f.list) == maxFindings:
		f.list = append(f.list, &field.Error{
			Type: field.ErrorTypeTooMany, Field: f.base.String(), BadValue: field.OmitValueType{},
			Detail: fmt.Sprintf("there is more wrong than the %d errors listed", maxFindings),
		})
	}
}

// invalid quotes value, cut where it is long.
func (f *findings) invalid(value, detail string, steps ...any) {
	f.add(field.Invalid(f.at(steps), quotable(value), detail))
}

// wrong is invalid for a value that is not to be quoted.
func (f *findings) wrong(detail string, steps ...any) {
	f.add(field.Invalid(f.at(steps), field.OmitValueType{}, detail))
}

func (f *findings) required(detail string, steps ...any) {
	f.add(field.Required(f.at(steps), detail))
}

func (f *findings) forbidden(detail string, steps ...any) {
	f.add(field.Forbidden(f.at(steps), detail))
}

func (f *findings) unsupported(value string, valid []string, steps ...any) {
	f.add(field.NotSupported(f.at(steps), quotable(value), valid))
}

// needs reports an empty value.
func (f *findings) needs(value, detail string, steps ...any) {
	if value == "" {
		f.required(detail, steps...)
	}
}

// quotable cuts a value that is too long to be quoted.
func quotable(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	return strings.ToValidUTF8(s[:maxQuoted], "") + "..."
}
