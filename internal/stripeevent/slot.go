package stripeevent

// slot names a value that the scanner keeps. The slots of an object's members follow the object's
// own slot, so that a repeated key can clear everything below the former value: the last one
// counts, as in encoding/json.
type slot int8

const (
	slotID slot = iota
	slotType
	slotAccount
	slotContext
	slotCreated
	slotLivemode
	slotData
	slotObject
	slotObjectID
	slotObjectObject
	slotCustomer
	slotCustomerID
	slotCustomerAccount
	slotOwner
	slotOwnerCustomer
	slotOwnerCustomerID
	slotPrevious
	slotPreviousCustomer
	slotPreviousCustomerID
	slotRelated
	slotRelatedID
	slotRelatedType
	slots

	// slotRoot is the document, slotSkip a value that is not kept.
	slotRoot slot = -1
	slotSkip slot = -2
)

// member returns the slot of a key in the object of slot in.
func member(in slot, key []byte) slot {
	switch in {
	case slotRoot:
		switch string(key) {
		case "id":
			return slotID
		case "type":
			return slotType
		case "account":
			return slotAccount
		case "context":
			return slotContext
		case "created":
			return slotCreated
		case "livemode":
			return slotLivemode
		case "data":
			return slotData
		case "related_object":
			return slotRelated
		}
	case slotData:
		switch string(key) {
		case "object":
			return slotObject
		case "previous_attributes":
			return slotPrevious
		}
	case slotObject:
		switch string(key) {
		case "id":
			return slotObjectID
		case "object":
			return slotObjectObject
		case "customer":
			return slotCustomer
		case "customer_account":
			return slotCustomerAccount
		case "owner":
			return slotOwner
		}
	case slotOwner:
		if string(key) == "customer" {
			return slotOwnerCustomer
		}
	case slotPrevious:
		if string(key) == "customer" {
			return slotPreviousCustomer
		}
	case slotCustomer, slotOwnerCustomer, slotPreviousCustomer:
		if string(key) == "id" {
			return in + 1
		}
	case slotRelated:
		switch string(key) {
		case "id":
			return slotRelatedID
		case "type":
			return slotRelatedType
		}
	}
	return slotSkip
}

// below returns the first slot after those of the members of s.
func below(s slot) slot {
	switch s {
	case slotData:
		return slotRelated
	case slotObject:
		return slotPrevious
	case slotOwner:
		return slotPrevious
	case slotPrevious:
		return slotRelated
	case slotRelated:
		return slots
	case slotCustomer, slotOwnerCustomer, slotPreviousCustomer:
		return s + 2
	}
	return s + 1
}
