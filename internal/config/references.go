package config

import (
	"regexp"
	"strings"

	"github.com/gregorhq/gregor/internal/kafka"
)

// Provider resolves ${alias:path:key} references. class is what
// config.providers.ALIAS.class names; params are config.providers.ALIAS.param.*
// without the prefix. path is "" for ${alias:key}.
type Provider func(class string, params map[string]string, path, key string) (string, error)

var reference = regexp.MustCompile(`\$\{([^}]*?):(?:([^}]*?):)?([^}]*?)\}`)

// Resolve replaces references to the providers that config.providers names in
// the values, once. Everything else, references to unknown aliases among it,
// stays as it is. props does not change.
func Resolve(props map[string]string, provide Provider) (map[string]string, error) {
	aliases := map[string]bool{}
	for _, alias := range splitList(trim(props["config.providers"])) {
		aliases[alias] = true
	}
	resolved := make(map[string]string, len(props))
	for _, key := range sortedKeys(props) {
		value := props[key]
		if len(aliases) == 0 || strings.HasPrefix(key, "config.providers") || !strings.Contains(value, "${") {
			resolved[key] = value
			continue
		}
		var failed error
		resolved[key] = reference.ReplaceAllStringFunc(value, func(ref string) string {
			m := reference.FindStringSubmatch(ref)
			if !aliases[m[1]] || failed != nil {
				return ref
			}
			text, err := provide(props["config.providers."+m[1]+".class"], providerParams(props, m[1]), m[2], m[3])
			if err != nil {
				failed = kafka.InvalidConfig.Errorf("configuration %s: resolving %s: %w", key, ref, err)
				return ref
			}
			return text
		})
		if failed != nil {
			return nil, failed
		}
	}
	return resolved, nil
}

func providerParams(props map[string]string, alias string) map[string]string {
	params := map[string]string{}
	for key, value := range props {
		if name, ok := strings.CutPrefix(key, "config.providers."+alias+".param."); ok {
			params[name] = value
		}
	}
	return params
}
