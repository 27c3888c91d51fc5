package promapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/prometheus/common/model"
)

// Answer is a decoded answer of the query endpoints.
type Answer struct {
	// Value is a model.Vector, model.Matrix, *model.Scalar or *model.String.
	Value model.Value
	// Warnings and Infos are the annotations that came with it.
	Warnings, Infos []string
}

// envelope is what every answer of the Prometheus API looks like.
type envelope struct {
	Status    string          `json:"status"`
	Data      json.RawMessage `json:"data"`
	ErrorType ErrorType       `json:"errorType"`
	Error     string          `json:"error"`
	Warnings  []string        `json:"warnings"`
	Infos     []string        `json:"infos"`
	IsPartial json.RawMessage `json:"isPartial"`
}

// DecodeEnvelope reads an answer with an HTTP status and returns its data. The warnings
// of a partial answer include PartialWarning. It returns the Error that the answer is, or one with status 502 for what is not an answer of the
// Prometheus API.
func DecodeEnvelope(status int, body io.Reader) (data json.RawMessage, warnings, infos []string, err error) {
	var decoded envelope
	if err := json.NewDecoder(body).Decode(&decoded); err != nil {
		if status >= http.StatusBadRequest {
			return nil, nil, nil, Errorf(http.StatusBadGateway, ErrorUnavailable, "the tier answered with status %d and no error of the Prometheus API", status)
		}
		return nil, nil, nil, undecodable(err)
	}
	if decoded.Status != "success" || status >= http.StatusBadRequest {
		return nil, nil, nil, &Error{Status: status, Type: decoded.ErrorType, Message: decoded.Error}
	}
	if string(decoded.IsPartial) == "true" && !slices.Contains(decoded.Warnings, PartialWarning) {
		decoded.Warnings = append(decoded.Warnings, PartialWarning)
	}
	return decoded.Data, decoded.Warnings, decoded.Infos, nil
}

func undecodable(cause error) error {
	return &Error{Status: http.StatusBadGateway, Type: ErrorInternal, Message: "the tier's answer is not one of the Prometheus API", Cause: cause}
}

// DecodeAnswer reads an answer of the query or query_range endpoint. It
// returns the errors of DecodeEnvelope.
func DecodeAnswer(status int, body io.Reader) (*Answer, error) {
	data, warnings, infos, err := DecodeEnvelope(status, body)
	if err != nil {
		return nil, err
	}
	var result struct {
		ResultType model.ValueType `json:"resultType"`
		Result     json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, undecodable(err)
	}
	value, err := decodeValue(result.ResultType, result.Result)
	if err != nil {
		return nil, undecodable(err)
	}
	return &Answer{Value: value, Warnings: warnings, Infos: infos}, nil
}

func decodeValue(valueType model.ValueType, raw json.RawMessage) (model.Value, error) {
	switch valueType {
	case model.ValVector:
		var vector model.Vector
		err := json.Unmarshal(raw, &vector)
		return vector, err
	case model.ValMatrix:
		var matrix model.Matrix
		err := json.Unmarshal(raw, &matrix)
		return matrix, err
	case model.ValScalar:
		scalar := &model.Scalar{}
		return scalar, json.Unmarshal(raw, scalar)
	case model.ValString:
		text := &model.String{}
		return text, json.Unmarshal(raw, text)
	case model.ValNone:
	}
	return nil, errors.New("the result type is not known")
}
