package pki

import (
	"encoding/csv"
	"strings"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
)

// alwaysAnnotated are the annotations that an issued Secret carries even when they are empty.
var alwaysAnnotated = []string{
	cmapi.CommonNameAnnotationKey, cmapi.AltNamesAnnotationKey, cmapi.IPSANAnnotationKey, cmapi.URISANAnnotationKey,
}

var leafAnnotations = map[string]bool{
	cmapi.CommonNameAnnotationKey: true, cmapi.AltNamesAnnotationKey: true, cmapi.IPSANAnnotationKey: true, cmapi.URISANAnnotationKey: true,
	cmapi.EmailsAnnotationKey: true, cmapi.SubjectSerialNumberAnnotationKey: true, cmapi.SubjectOrganizationsAnnotationKey: true,
	cmapi.SubjectOrganizationalUnitsAnnotationKey: true, cmapi.SubjectCountriesAnnotationKey: true, cmapi.SubjectProvincesAnnotationKey: true,
	cmapi.SubjectLocalitiesAnnotationKey: true, cmapi.SubjectPostalCodesAnnotationKey: true, cmapi.SubjectStreetAddressesAnnotationKey: true,
}

// IsLeafAnnotation tells whether a key is one that LeafAnnotations may return.
func IsLeafAnnotation(key string) bool { return leafAnnotations[key] }

// LeafAnnotations returns the annotations by which an issued Secret describes its leaf: names, and what the subject holds. Lists
// are joined by commas; those of the subject quoted as CSV, since a name may hold a comma. Nil when the text holds no certificate.
func LeafAnnotations(chain []byte) map[string]string {
	certs, err := ParseCertificates(chain)
	if err != nil {
		return nil
	}
	leaf := certs[0]
	out := map[string]string{}
	for _, key := range alwaysAnnotated {
		out[key] = ""
	}
	set := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	set(cmapi.CommonNameAnnotationKey, leaf.Subject.CommonName)
	set(cmapi.AltNamesAnnotationKey, strings.Join(leaf.DNSNames, ","))
	set(cmapi.IPSANAnnotationKey, strings.Join(stringsOf(leaf.IPAddresses), ","))
	set(cmapi.URISANAnnotationKey, strings.Join(stringsOf(leaf.URIs), ","))
	set(cmapi.EmailsAnnotationKey, strings.Join(leaf.EmailAddresses, ","))
	s := leaf.Subject
	set(cmapi.SubjectSerialNumberAnnotationKey, s.SerialNumber)
	set(cmapi.SubjectOrganizationsAnnotationKey, joinCSV(s.Organization))
	set(cmapi.SubjectOrganizationalUnitsAnnotationKey, joinCSV(s.OrganizationalUnit))
	set(cmapi.SubjectCountriesAnnotationKey, joinCSV(s.Country))
	set(cmapi.SubjectProvincesAnnotationKey, joinCSV(s.Province))
	set(cmapi.SubjectLocalitiesAnnotationKey, joinCSV(s.Locality))
	set(cmapi.SubjectPostalCodesAnnotationKey, joinCSV(s.PostalCode))
	set(cmapi.SubjectStreetAddressesAnnotationKey, joinCSV(s.StreetAddress))
	return out
}

func joinCSV(list []string) string {
	if len(list) == 0 {
		return ""
	}
	var out strings.Builder
	w := csv.NewWriter(&out)
	if err := w.Write(list); err != nil {
		return strings.Join(list, ",")
	}
	w.Flush()
	return strings.TrimSuffix(out.String(), "\n")
}
